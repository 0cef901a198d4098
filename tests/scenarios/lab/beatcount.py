"""What a round with beats has sent, against what was due. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import islice

from taskq.scheduling.occurrences import Definition, begin, delay_of, planned_instants
from taskq.scheduling.schedulelog import Shelf
from tests.scenarios.lab.faults import Fault
from tests.support.topicreader import Seen

NAMES: Mapping[Fault, str] = {
    Fault.KILL_WORKER: "kill -9",
    Fault.FREEZE_WORKER: "SIGSTOP 15 s, SIGCONT",
    Fault.PARTITION: "owner cut off 15 s, connected",
    Fault.LEAVE: "SIGTERM",
    Fault.JOIN: "start",
    Fault.STOP_BROKER: "broker restart",
}


@dataclass
class BeatReport:
    """What came out of a round."""

    seed: int
    seconds: float = 0.0
    schedules: int = 0
    occurrences: int = 0
    missing: int = 0
    twice: int = 0
    early: int = 0
    longest_lateness: float = 0.0
    """Seconds between an occurrence's due time and its record's."""

    lateness: dict[str, float] = field(default_factory=dict)
    """Seconds: `p50`, `p99` of all."""

    take_over: dict[str, dict[str, float]] = field(default_factory=dict)
    """By kind of fault its number, and the longest lateness until the next fault: `count`, `median`, `longest`, in seconds."""

    stop_seconds: float = 0.0
    """The longest end after SIGTERM."""

    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Done:
    """A fault that was done."""

    fault: Fault
    at: float
    """Seconds since 1970."""


def count(
    report: BeatReport, shelf: Shelf, records: Iterable[Seen], done: Sequence[Done], *, end: float
) -> None:
    """Enter into a report what was sent, against what was due.

    Args:
        report: Of the round.
        shelf: The schedules, with how far each has come.
        records: What stands in the schedules' queue, for readers of what is committed.
        done: The faults, as they came.
        end: When the round did, in seconds since 1970.
    """
    sent = [seen for seen in records if "id" in seen.headers]
    by_id = Counter(seen.id for seen in sent)
    expected = _expected(shelf)
    missing = [id for id in expected if id not in by_id]
    foreign = [id for id in by_id if id not in expected]
    twice = [id for id, count in by_id.items() if count > 1]
    report.schedules, report.occurrences = len(shelf.schedules), len(sent)
    report.missing, report.twice = len(missing), len(twice)
    late = {seen.id: _lateness(seen, expected) for seen in sent if seen.id in expected}
    early = [id for id, seconds in late.items() if seconds < 0]
    report.early = len(early)
    for what, ids in (
        ("are missing", missing),
        ("were not planned", foreign),
        ("were sent more than once", twice),
        ("were sent early", early),
    ):
        if ids:
            report.problems.append(f"{len(ids)} {what}, such as {list(islice(ids, 3))}")
    report.problems += stale(shelf, max(expected.values()))
    values = sorted(late.values())
    report.longest_lateness = round(values[-1], 3)
    report.lateness = {f"p{part}": round(values[len(values) * part // 100], 4) for part in (50, 99)}
    report.take_over = _take_overs(late, expected, done, end)


def _take_overs(
    late: Mapping[str, float], expected: Mapping[str, datetime], done: Sequence[Done], end: float
) -> dict[str, dict[str, float]]:
    """Return by kind the longest lateness of what came due between a fault and the next one."""
    ends = [fault.at for fault in done[1:]] + [end]
    found: dict[str, list[float]] = {}
    for fault, next_at in zip(done, ends, strict=True):
        within = [
            seconds
            for id, seconds in late.items()
            if fault.at - 1 <= expected[id].timestamp() < next_at - 1
        ]
        found.setdefault(NAMES[fault.fault], []).append(max(within, default=0.0))
    return {
        kind: {
            "count": len(values),
            "median": round(sorted(values)[len(values) // 2], 2),
            "longest": round(max(values), 2),
        }
        for kind, values in found.items()
    }


def _expected(shelf: Shelf) -> dict[str, datetime]:
    """Return all occurrences from the load to where each schedule's state says it is, with their due times."""
    found: dict[str, datetime] = {}
    for stored in shelf.schedules.values():
        assert stored.definition is not None
        assert stored.state is not None
        definition: Definition = stored.definition
        delay = delay_of(definition)
        for at in planned_instants(begin(definition), stored.state.state.cursor):
            found[f"{definition.name}@{at:%Y-%m-%dT%H:%M:%SZ}"] = at + delay
    return found


def _lateness(seen: Seen, expected: Mapping[str, datetime]) -> float:
    sent = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=seen.timestamp_ms)
    return (sent - expected[seen.id]).total_seconds()


def stale(shelf: Shelf, end: datetime) -> list[str]:
    """Return the schedules that have stood still for five seconds before the end."""
    problems = []
    for id, stored in shelf.schedules.items():
        assert stored.definition is not None
        assert stored.state is not None
        left = end - timedelta(seconds=5) - delay_of(stored.definition)
        due = list(planned_instants(stored.state.state, left))
        if due:
            problems.append(f"{id} stands still since {due[0]}")
    return problems
