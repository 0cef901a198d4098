"""Whether a consumer is healthy, and how soon a broken one may be replaced.

"The worker is up and has stopped consuming" has two shapes: the group has forgotten the member, or the member's fetches bring
nothing although records wait. From inside both look like an idle queue, so others are asked: the group who its members are, the
leaders where their partitions end. One answer proves nothing, as a record may just have come; a suspicion counts if it is the same
a while later.

A busy consumer can be wrong, too: the group says once, in the answer to a heartbeat, what a member is to give up or has got. Where
that answer is lost the member never hears of it (docs/decisions/0026), so the group is asked then, and from time to time.

Pure: clock readings and answers come from outside. Asking and acting are in membership.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from .backoff import Backoff

PATIENCE: Final = 30.0
"""Seconds of silence before others are asked, and between two such questions. An idle consumer asks as often."""

BUSY_PATIENCE: Final = 60.0
"""Seconds until the group is asked about a consumer that is not silent."""

LOST_PATIENCE: Final = 3.0
"""Seconds until it is asked after an answer of it was lost: a member that was told meanwhile has done what it was told."""

CONFIRM: Final = 10.0
"""Seconds of silence until a suspicion is looked at again: a healthy fetch takes milliseconds, a leader's change a few seconds."""

MOST_STEP: Final = 1.0
"""Seconds that count at most between two polls: who was not polled (a slow claim, a frozen process) has heard nothing for that."""

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 120.0
"""Seconds between the end of one consumer and the start of the next, where replacing has not helped."""

CALM: Final = 600.0
"""Seconds after which a replacement has helped."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What others say of a member at one moment, and what it believes itself."""

    listed: bool | None = None
    """Whether the group lists it; None if nobody can tell, or the group is in a rebalance."""

    given: frozenset[int] = frozenset()
    """Its partitions, as the group says."""

    wanted: frozenset[int] | None = None
    """Those it is to have in the end, as the group says; None in a classic group, which tells no such thing."""

    known: frozenset[int] = frozenset()
    """Its partitions, as it has been told."""

    awaits: bool = False
    """Whether it has to be told of an assignment and was not."""

    positions: Mapping[int, int] = field(default_factory=dict)
    """The offset to read next, by partition; of those that it fetches from (neither paused nor blocked). None of a busy consumer:
    what its client has fetched already may wait its turn."""

    ends: Mapping[int, int] = field(default_factory=dict)
    """Where these partitions end for a `read_committed` reader, as their leaders say; those without an answer are left out."""


class Kind(Enum):
    """What may be wrong."""

    UNLISTED = "the group does not list this member"
    UNTOLD = "the group gives this member partitions of which it has heard nothing"
    UNRELEASED = "the group wants back partitions of this member, which has heard nothing of it"
    UNASSIGNED = "no assignment has arrived"
    STALLED = "records wait on its partitions and none arrives"


Suspicion = tuple[Kind, int, int]
"""What, which partition (-1: none in particular), and at which offset."""


def suspicions(sighting: Sighting) -> frozenset[Suspicion]:
    """Return what may be wrong with a member."""
    found: set[Suspicion] = set()
    if sighting.listed is False:
        found.add((Kind.UNLISTED, -1, 0))
    elif sighting.listed is None and sighting.awaits:
        found.add((Kind.UNASSIGNED, -1, 0))
    elif sighting.listed:
        found.update((Kind.UNTOLD, number, 0) for number in sighting.given - sighting.known)
        if sighting.wanted is not None:
            over = sighting.known - sighting.wanted
            found.update((Kind.UNRELEASED, number, 0) for number in over)
    found.update(
        (Kind.STALLED, number, position)
        for number, position in sighting.positions.items()
        if sighting.ends.get(number, 0) > position
    )
    return frozenset(found)


class Look(Enum):
    """What it is time to ask."""

    NOTHING = "nobody"
    MEMBER = "the group, about the member"
    ALL = "the group and the leaders of its partitions"


class Watchdog:
    """Counts the silence of one consumer, and judges what others say of it."""

    def __init__(self, *, patience: float = PATIENCE, confirm: float = CONFIRM) -> None:
        """Begin with no silence.

        Args:
            patience: Seconds of silence before others are asked.
            confirm: Seconds until a suspicion is looked at again.
        """
        self._patience = patience
        self._confirm = confirm
        self._silence = 0.0
        """Seconds since the last look in which polls brought nothing."""
        self._waited = 0.0
        """Seconds since then in which it was polled at all."""
        self._polled_at: float | None = None
        self._was_silent = False
        self._has_lost = False
        self._loss_patience = LOST_PATIENCE
        """Doubled with each question after a loss: where answers get lost the coordinator has enough to do."""
        self._suspected: frozenset[Suspicion] = frozenset()

    def restart(self) -> None:
        """Begin anew: the member has joined, or its assignment changed, by which it was told all that the group had to say."""
        self._begin_anew()
        self._has_lost = False
        self._loss_patience = LOST_PATIENCE

    def forget(self) -> None:
        """Drop what is suspected: what it rests on was interrupted (a pause)."""
        self._suspected = frozenset()

    def heard(self, now: float) -> None:
        """Take note that a poll brought something."""
        self._count(now)
        self._was_silent = False

    def silent(self, now: float) -> None:
        """Take note that a poll brought nothing."""
        step = self._count(now)
        if self._was_silent:
            self._silence += step
        self._was_silent = True

    def lost_answer(self) -> None:
        """Take note that no answer to a heartbeat came in time: what the group said in it, it says no more."""
        if not (self._has_lost or self._suspected):
            self._has_lost = True
            self._waited = 0.0

    def due(self) -> Look:
        """Return what it is time to ask."""
        if self._silence >= (self._confirm if self._suspected else self._patience):
            return Look.ALL
        if self._waited >= self._patience_of_member():
            return Look.MEMBER
        return Look.NOTHING

    def put_off(self) -> None:
        """Take note that nobody answered: a broker that is away is waited for, and no fault of the consumer."""
        self._begin_anew()

    def judge(self, sighting: Sighting, look: Look = Look.ALL) -> str:
        """Return why the consumer has to be replaced, or nothing: a suspicion has to be there twice.

        Args:
            sighting: What others said.
            look: Who was asked. The member's group alone can tell nothing of a stalled partition.
        """
        self._waited = 0.0
        found = suspicions(sighting)
        confirmed = found & self._suspected
        if look is Look.ALL:
            self._silence = 0.0
        else:
            found |= {suspicion for suspicion in self._suspected if suspicion[0] is Kind.STALLED}
        if self._has_lost:
            self._has_lost = False
            self._loss_patience = min(2 * self._loss_patience, BUSY_PATIENCE)
        self._suspected = found
        return "; ".join(_in_words(kind, confirmed) for kind in Kind if _any_of(kind, confirmed))

    def _patience_of_member(self) -> float:
        if self._has_lost:
            return self._loss_patience
        is_suspect = any(kind is not Kind.STALLED for kind, _, _ in self._suspected)
        return self._confirm if is_suspect else max(BUSY_PATIENCE, self._patience)

    def _count(self, now: float) -> float:
        """Count the time since the last poll, and return it."""
        step = 0.0 if self._polled_at is None else min(now - self._polled_at, MOST_STEP)
        self._polled_at = now
        self._waited += step
        return step

    def _begin_anew(self) -> None:
        self._silence = self._waited = 0.0
        self._polled_at = None
        self._was_silent = False
        self._suspected = frozenset()


def _any_of(kind: Kind, confirmed: frozenset[Suspicion]) -> bool:
    return any(each[0] is kind for each in confirmed)


def _in_words(kind: Kind, confirmed: frozenset[Suspicion]) -> str:
    numbers = sorted(number for other, number, _ in confirmed if other is kind and number >= 0)
    return f"{kind.value} ({', '.join(map(str, numbers))})" if numbers else kind.value


class Replacements:
    """How long to stay away between one consumer and the next: not at all the first time, then longer each time."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        """Begin with none."""
        self._backoff = backoff or Backoff(FIRST_WAIT, LONGEST_WAIT)
        self._last: float | None = None

    def wait(self, now: float) -> float:
        """Return the seconds until the next consumer may be made; call it once for each."""
        wait = 0.0
        if self._last is None or now - self._last >= CALM:
            self._backoff.reset()
        else:
            wait = self._backoff.next()
        self._last = now + wait
        return wait
