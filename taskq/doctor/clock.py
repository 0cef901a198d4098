"""This machine's clock beside the broker's, without writing anything.

Brokers do not tell the time. But a group's coordinator stamps each commit with its own clock, and when the newest commit is another
one than at the last look, it was written between the two looks: the broker's clock then was what the stamp says, and ours lay
between the asking of the first and the answer of the second. While nobody commits, a stamp only says how far ahead the broker's
clock is at the least. See docs/decisions/0010-clock-skew-without-writing.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from taskq.doctor.facts import Facts, Stamp
from taskq.doctor.findings import Finding, note, ok, problem

TOLERATED_MS = 1000
"""Clocks that differ by less are as good as equal: nothing here promises tenths of a second across machines."""

GRAVE_MS = 60_000
"""What came due up to so long ago is still sent; beyond it a wrong clock changes what runs."""

_MEANING = (
    "Delays, expiry times and schedules count by the clock of the machine that sends and of the one that sends on: they are off by "
    "so much, and so are the ages that are printed here."
)
_ADVICE = "Set both machines' clocks by NTP."


def clock(facts: Facts) -> Iterator[Finding]:
    """Compare the clocks, as far as commits of others allow."""
    least, most = bounds(facts.stamps)
    if least is None:
        yield note(
            "clock",
            "not measured: the brokers tell no time of a commit",
            "None was written yet, or the rights are missing.",
        )
    elif least > TOLERATED_MS:
        yield _differs(
            f"the broker's clock is at least {least / 1000:.1f} s ahead of this machine's", least
        )
    elif most is not None and most < -TOLERATED_MS:
        yield _differs(
            f"the broker's clock is at least {-most / 1000:.1f} s behind this machine's", -most
        )
    elif most is None:
        yield note(
            "clock",
            "not measured: no worker committed anything while this looked",
            "The broker's clock is not ahead of this machine's, as far as older commits show; whether it is behind is not known.",
            "Run it again while tasks are running.",
        )
    elif most - least > 2 * TOLERATED_MS:
        yield note(
            "clock",
            f"measured to {(most - least) / 1000:.1f} s only",
            "The broker answered slowly.",
            "Run it again.",
        )
    else:
        yield ok("clock", f"within {max(abs(least), abs(most)) / 1000:.1f} s of the broker's")


def bounds(stamps: Sequence[Stamp]) -> tuple[int | None, int | None]:
    """Return by how many milliseconds the broker's clock is ahead of ours, at the least and at the most.

    None for a bound that the stamps do not give.
    """
    told = [(stamp, stamp.newest_ms) for stamp in stamps if stamp.newest_ms is not None]
    least = max((newest - stamp.answered_ms for stamp, newest in told), default=None)
    most = None
    for (before, older), (_, newer) in pairwise(told):
        if newer > older:  # it was written after the question before was asked
            most = newer - before.asked_ms if most is None else min(most, newer - before.asked_ms)
    return least, most


def _differs(finding: str, by_ms: int) -> Finding:
    make = problem if by_ms >= GRAVE_MS else note
    return make("clock", finding, _MEANING, _ADVICE)
