"""What came out of a round, whether that is right, and the sum of several. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Report:
    """One round, or several added up. `asdict` gives what stands in the state file."""

    seeds: list[int] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    """Number by kind, which is the name of a `Fault`."""

    sent: int = 0
    """Tasks that the broker acknowledged."""

    unknown: int = 0
    """Tasks whose sending failed; they may have been sent."""

    once: int = 0
    """Of all tasks that settle before their run, sent or unknown."""

    never: int = 0
    """Of the acknowledged ones."""

    most_lost: int = 0
    """How many might have been lost to the faults."""

    twice: int = 0
    cut_short: int = 0
    """Tasks that started and did not end."""

    late: int = 0
    """Acknowledged tasks that settle after their run; they are not among the numbers above, but for `sent` and `unknown`."""

    late_once: int = 0
    """Of all that settle after their run, sent or unknown: those that started once."""

    late_never: int = 0
    """Of the acknowledged ones, those that did not run to an end."""

    late_again: int = 0
    """Of all that settle after their run, those that started more than once."""

    again_by: dict[str, int] = field(default_factory=dict)
    """Starts of these that were not the first, by the name of the `Fault` that caused them (see `blame.py`)."""

    longest_stall: float = 0.0
    """Seconds in which no task at all started, while tasks waited."""

    longest_wait: float = 0.0
    """Seconds from the acknowledgement of a task to its start."""

    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    """What must not be; empty if all is right."""

    def lines(self) -> str:
        """Return it for people."""
        rare = f"twice {self.twice}, never {self.never} (at most {self.most_lost}), cut short {self.cut_short}"
        again = f"more than once {self.late_again} ({_counts(self.again_by)})"
        return "\n".join(
            [
                f"seeds {self.seeds}: {sum(self.faults.values())} faults in {self.seconds:.0f} s ({_counts(self.faults)})",
                f"sent {self.sent} (and {self.unknown} perhaps), run once {self.once}, {rare}",
                f"of {self.late} with acks_late: run once {self.late_once}, never {self.late_never}, {again}",
                f"longest stall {self.longest_stall:.1f} s, longest wait of a task {self.longest_wait:.1f} s",
                *(f"PROBLEM: {problem}" for problem in self.problems),
            ]
        )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def add_up(reports: Sequence[Report]) -> Report:
    """Return the sum of several rounds."""
    total: dict[str, Any] = asdict(Report())
    for report in reports:
        for name, part in asdict(report).items():
            if name in ("longest_stall", "longest_wait"):
                total[name] = max(total[name], part)
            elif isinstance(part, dict):
                total[name] = dict(Counter(total[name]) + Counter(part))
            else:
                total[name] = total[name] + part
    return Report(**total)
