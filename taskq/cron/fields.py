"""A cron expression, taken apart by the rules of its dialect: which values each field allows.

Pure and without a calendar: when an expression is due is in `taskq.cron`. The rules are those of robfig/cron: version 1's `Parse`
(`robfig-v1`), version 3's default parser (`standard`) and the same `WithSeconds` (`seconds`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from taskq.errors import InvalidSchedule
from taskq.near import nearest

DIALECTS = ("auto", "standard", "seconds", "robfig-v1")
"""The dialects' names; `auto` takes five fields for `standard` and six for `seconds`."""

_PREFIXES = ("TZ=", "CRON_TZ=")
_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_EVERY = "@every "

_NUMBER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DURATION = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "\u00b5s": 1_000,
    "\u03bcs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LARGEST = 2**63 - 1  # Go's int64: larger numbers and durations are refused there

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_WEEKDAYS = {
    name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
}


@dataclass(frozen=True, slots=True)
class Field:
    """The values one field allows, sorted; none at all where it was written with commas only."""

    values: tuple[int, ...]
    star: bool
    """Whether the field counts as left open. It rules how the two day fields combine, nothing else."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The six fields of an expression; a dialect that lacks one has its default here."""

    second: Field
    minute: Field
    hour: Field
    day_of_month: Field
    month: Field
    day_of_week: Field

    @property
    def either_day(self) -> bool:
        """Whether a day is due when one day field allows it (neither is a star), rather than when both do."""
        return not (self.day_of_month.star or self.day_of_week.star)


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression taken apart: either `fields` or `every` is set."""

    dialect: str
    """The dialect it was read in, never `auto`."""

    zone: str | None
    """The zone of a `TZ=` or `CRON_TZ=` prefix."""

    fields: Fields | None = None
    every: timedelta | None = None
    """The distance of an `@every`, in whole seconds, at least one."""


def read_expression(text: str, dialect: str = "auto") -> Expression:
    """Take an expression apart.

    Args:
        text: The expression, with its prefix.
        dialect: One of `DIALECTS`.

    Raises:
        InvalidSchedule: The dialect does not exist, or it does not allow the expression.
    """
    try:
        if dialect not in DIALECTS:
            near = nearest(dialect, DIALECTS)
            hint = f"did you mean {near!r}?" if near else f"choose one of {', '.join(DIALECTS)}"
            _refuse(f"there is no such dialect; {hint}")
        return _read(text, dialect)
    except _RefusedError as error:
        raise InvalidSchedule(text, dialect, str(error)) from None


class _RefusedError(Exception):
    """Why an expression is not allowed, in words."""


def _refuse(why: str) -> NoReturn:
    raise _RefusedError(why)


def _read(text: str, dialect: str) -> Expression:
    if not text.strip():
        _refuse("it is empty")
    rest, zone = text, None
    if text.startswith(_PREFIXES):
        rest, zone = _split_zone(text, dialect)
    if rest.startswith("@"):
        return _read_descriptor(rest, zone, dialect)
    words = rest.split()
    dialect = _settle_dialect(words, dialect)
    if len(words) == 5:
        words = [*words, "*"] if dialect == "robfig-v1" else ["0", *words]
    return Expression(dialect, zone, fields=_read_fields(words, dialect))


def _split_zone(text: str, dialect: str) -> tuple[str, str]:
    if dialect == "robfig-v1":
        _refuse("this dialect has no TZ= prefix; give the zone as timezone")
    assignment, _, rest = text.partition(" ")
    zone = assignment.partition("=")[2]
    if not zone or not rest.strip():
        _refuse("after TZ= or CRON_TZ= stand the name of a zone, a blank and the fields")
    return rest.strip(), zone


def _settle_dialect(words: list[str], dialect: str) -> str:
    """Return the dialect that `auto` stands for, after checking the number of fields."""
    count = len(words)
    found = f"it has {count} field{'' if count == 1 else 's'}, and "
    if dialect == "auto":
        if count not in (5, 6):
            _refuse(found + "five are needed, or six with the second first")
        return "standard" if count == 5 else "seconds"
    if dialect == "standard" and count != 5:
        hint = "; with the second first, the dialect is seconds" if count == 6 else ""
        _refuse(found + f"five are needed (minute hour day-of-month month day-of-week){hint}")
    if dialect == "seconds" and count != 6:
        hint = "; without the second, the dialect is standard" if count == 5 else ""
        _refuse(found + f"six are needed (second minute hour day-of-month month day-of-week){hint}")
    if dialect == "robfig-v1" and count not in (5, 6):
        _refuse(found + "six are needed (second first), or five without the day of week")
    return dialect


def _read_descriptor(text: str, zone: str | None, dialect: str) -> Expression:
    dialect = "standard" if dialect == "auto" else dialect
    if text.startswith(_EVERY):
        return Expression(dialect, zone, every=_read_every(text[len(_EVERY) :]))
    fields = _DESCRIPTORS.get(text)
    if fields is None:
        known = ", ".join([*_DESCRIPTORS, "@every DURATION"])
        _refuse(f"there is no such descriptor; there are {known}, in lower case")
    return Expression(dialect, zone, fields=_read_fields(fields.split(), dialect))


def _read_every(text: str) -> timedelta:
    """Read Go's duration, as `@every` uses it: cut to whole seconds, at least one (robfig/cron, `Every`)."""
    nanoseconds = _read_duration_ns(text)
    return timedelta(seconds=max(1, nanoseconds // _UNIT_NS["s"]))


def _read_duration_ns(text: str) -> int:
    """Return a duration in nanoseconds, by the rules of Go's `time.ParseDuration`."""
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    if unsigned == "0":
        return 0
    total, position = 0, 0
    while position < len(unsigned):
        part = _DURATION.match(unsigned, position)
        if part is None or not (part[1] or part[2]):
            break
        whole, fraction, unit = part[1] or "0", part[2] or "", _UNIT_NS[part[3]]
        if len(whole) > 20:
            _refuse(f"the duration {text[:40]!r} is too long")
        total += int(whole) * unit
        total += int(fraction[:18] or "0") * unit // 10 ** len(fraction[:18])
        position = part.end()
    if not unsigned or position < len(unsigned):
        _refuse(f"{text!r} is not a duration such as 1h30m or 90s (units h, m, s, ms, us, ns)")
    if total > _LARGEST:
        _refuse(f"the duration {text!r} is too long")
    return -total if text.startswith("-") else total


def _read_fields(words: list[str], dialect: str) -> Fields:
    return Fields(
        *(_read_field(word, kind, dialect) for word, kind in zip(words, _KINDS, strict=True))
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one of the six fields may hold."""

    name: str
    low: int
    high: int
    names: Mapping[str, int]
    hint: str = ""


_KINDS = (
    _Kind("second", 0, 59, {}),
    _Kind("minute", 0, 59, {}),
    _Kind("hour", 0, 23, {}),
    _Kind("day of month", 1, 31, {}),
    _Kind("month", 1, 12, _MONTHS, " or Jan-Dec"),
    _Kind("day of week", 0, 6, _WEEKDAYS, " or Sun-Sat; Sunday is 0"),
)


def _read_field(text: str, kind: _Kind, dialect: str) -> Field:
    values: set[int] = set()
    star = False
    for term in text.split(","):
        if term:
            term_values, term_star = _read_term(term, kind, dialect)
            values.update(term_values)
            star = star or term_star
    return Field(tuple(sorted(values)), star)


def _read_term(term: str, kind: _Kind, dialect: str) -> tuple[range, bool]:
    """Read one item of a list: `*`, `N`, `N-M`, each with an optional `/STEP`. Follows robfig/cron's `getRange`."""
    span, slash, step_text = term.partition("/")
    if "/" in step_text:
        _refuse(f"the {kind.name} field has too many slashes in {term!r}")
    ends = span.split("-")
    star = ends[0] in ("*", "?")
    if star:  # what stands behind the hyphen of "*-5" is not looked at
        low, high = kind.low, kind.high
    elif len(ends) > 2:
        _refuse(f"the {kind.name} field has too many hyphens in {term!r}")
    else:
        low = _read_value(ends[0], term, kind)
        high = _read_value(ends[1], term, kind) if len(ends) == 2 else low
    step = 1
    if slash:
        step = _read_step(step_text, term, kind)
        if len(ends) == 1:  # "N/S" is from N to the maximum
            high = kind.high
    _check_bounds(low, high, term, kind)
    # Version 1 keeps the star of "*/10"; version 3 drops it, so that its day fields combine by "or".
    keeps_star = star and (step == 1 or dialect == "robfig-v1")
    return range(low, high + 1, step), keeps_star


def _read_value(text: str, term: str, kind: _Kind) -> int:
    named = kind.names.get(text.lower())
    return _read_number(text, term, kind) if named is None else named


def _read_step(text: str, term: str, kind: _Kind) -> int:
    step = _read_number(text, term, kind)
    if step == 0:
        _refuse(f"the {kind.name} field has a step of 0 in {term!r}")
    return step


def _read_number(text: str, term: str, kind: _Kind) -> int:
    within = f" in {term!r}" if term != text else ""
    if not _NUMBER.fullmatch(text) or len(text) > 20:
        allowed = f"{kind.low}-{kind.high}{kind.hint}"
        _refuse(f"the {kind.name} field cannot read {text!r}{within} (allowed: {allowed})")
    number = int(text)
    if number < 0 or number > _LARGEST:
        _refuse(f"the {kind.name} field does not allow the number {text}{within}")
    return number


def _check_bounds(low: int, high: int, term: str, kind: _Kind) -> None:
    if low < kind.low or high > kind.high:
        wrong = low if low < kind.low or low > kind.high else high
        within = f" in {term!r}" if str(wrong) != term else ""
        _refuse(
            f"the {kind.name} field does not allow {wrong}{within} "
            f"(allowed: {kind.low}-{kind.high}{kind.hint})"
        )
    if low > high:
        _refuse(
            f"the {kind.name} field has the range {term!r}, which runs backwards; ranges do not wrap, "
            "so write it as two"
        )
