"""Which fault made a task start once more. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.scenarios.lab.faults import Fault


@dataclass(frozen=True)
class Strike:
    """A fault that was done."""

    at: float
    """When, as `waiting.moment` counts."""

    fault: Fault
    pids: frozenset[int] = frozenset()
    """The pool processes it struck; none if it struck brokers, or nobody."""


@dataclass(frozen=True)
class Repeat:
    """A start of a task that had started before."""

    id: str
    at: float
    earlier_pid: int
    """The process in which it had started the last time."""


def blame(strikes: Sequence[Strike], repeats: Iterable[Repeat]) -> dict[str, int]:
    """Return how many repeats each kind of fault has caused, by the name of a `Fault`.

    The cause is the last fault before the repeat that struck the process of the earlier start; if none did, the last of all, as the
    group may have shared its partitions out anew because of it.
    """
    found: Counter[str] = Counter()
    for repeat in repeats:
        earlier = [strike for strike in strikes if strike.at <= repeat.at]
        own = [strike for strike in earlier if repeat.earlier_pid in strike.pids]
        cause = (own or earlier)[-1:]
        found[cause[0].fault.name if cause else "NONE"] += 1
    return dict(found)
