"""Entries of a schedule file: what they may hold, and how the decoded JSON becomes them.

Pure. Reading the file is in `schedulefile`, when an entry is due in `occurrences`. An entry has one of two forms: the native one,
and the legacy one (`Id`, `Cron`, `Topic`, `TaskMessageTemplate`), which is turned into the native one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from taskq.cron.fields import DIALECTS
from taskq.cron.localtime import check_zone
from taskq.cron.schedule import CronSchedule
from taskq.errors import InvalidSchedule
from taskq.instants import write_instant
from taskq.near import nearest
from taskq.scheduling.entryvalues import (
    DAY,
    LONGEST_ID,
    PARSERS,
    CatchUp,
    WrongValue,
    json_type,
    read_text,
    shown,
)


@dataclass(frozen=True, slots=True)
class ScheduleEntry:
    """One entry: a task, its arguments, and when it is due. Checked; all durations are seconds."""

    id: str
    """Unique in its namespace."""

    cron: CronSchedule
    task: str
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    queue: str | None = None
    """None takes the task's own queue, or the default one."""

    key: str | None = None
    priority: int | None = None
    """0 to 9, 9 first; None takes the task's own, or 0."""

    expires: float | None = None
    """Seconds after the planned time from which the task is not run any more."""

    headers: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    enabled: bool = True
    start: datetime | None = None
    """No instant before this one is due. For `@every` it is also what the instants count from."""

    end: datetime | None = None
    """No instant after this one is due."""

    jitter: float = 0.0
    """The occurrence is sent up to so many seconds after its planned time, always the same for one id."""

    catch_up: CatchUp = CatchUp.LAST
    catch_up_window: float = DAY
    """Occurrences missed longer ago than this are not sent, whatever `catch_up` is."""

    description: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the entry in its native form, with every key that is not at its default."""
        document: dict[str, Any] = {
            "id": self.id,
            "cron": self.cron.expression,
            "dialect": self.cron.dialect,
            "task": self.task,
        }
        if not self.cron.has_own_zone and self.cron.timezone != "UTC":
            document["timezone"] = self.cron.timezone
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                document[name] = _to_json(value)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ScheduleEntry:
        """Read what `to_json` returned.

        Raises:
            ValueError: It is not such a document.
        """
        entries, problems = read_entries([document])
        if problems:
            raise ValueError("; ".join(map(str, problems)))
        return entries[0]


_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "args": (),
        "kwargs": {},
        "queue": None,
        "key": None,
        "priority": None,
        "expires": None,
        "headers": {},
        "enabled": True,
        "start": None,
        "end": None,
        "jitter": 0.0,
        "catch_up": CatchUp.LAST,
        "catch_up_window": DAY,
        "description": "",
    }
)


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return write_instant(value)
    if isinstance(value, CatchUp):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an entry."""

    entry: str
    """Which one: `entry 3`, with its id where it can be read; empty for the file as a whole."""

    key: str | None
    reason: str
    near: str | None = None
    """The name that was probably meant."""

    def __str__(self) -> str:
        key = f" {self.key!r}:" if self.key is not None else ""
        hint = f"; did you mean {self.near!r}?" if self.near else ""
        place = f"{self.entry}:{key} " if self.entry else ""
        return f"{place}{self.reason}{hint}"


def read_entries(document: object) -> tuple[list[ScheduleEntry], list[Problem]]:
    """Read the content of a schedule file.

    Args:
        document: The decoded JSON.

    Returns:
        The entries in the file's order, and all that is wrong. With problems the entries are not all of them.
    """
    if not isinstance(document, list):
        found = json_type(document)
        return [], [Problem("", None, f"must hold a list of entries, and holds {found}")]
    entries: list[ScheduleEntry] = []
    problems: list[Problem] = []
    first_with: dict[str, int] = {}
    for number, item in enumerate(document, 1):
        reader = _Reader(number, item)
        entry = reader.read()
        problems += reader.problems
        if isinstance(reader.id, str):
            first = first_with.setdefault(reader.id, number)
            if first != number:
                reason = (
                    f"{reader.id!r} is the id of entry {first} too; an id is unique in its file"
                )
                problems.append(Problem(reader.label, reader.id_key, reason))
        if entry is not None:
            entries.append(entry)
    return entries, problems


_LEGACY_KEYS = ("Id", "Cron", "Topic", "TaskMessageTemplate")
_TEMPLATE_KEYS = ("TaskProcessorName", "TaskParam", "Payload")
_NATIVE_KEYS = ("id", "cron", "task", *_DEFAULTS, "timezone", "dialect")


class _Reader:
    """Reads one entry and collects what is wrong with it."""

    def __init__(self, number: int, item: object) -> None:
        self.problems: list[Problem] = []
        self._item = item
        values = item if isinstance(item, dict) else {}
        legacy = sum(key in values for key in _LEGACY_KEYS)
        self._is_legacy = legacy > sum(key in values for key in _NATIVE_KEYS)
        self.id_key = "Id" if self._is_legacy else "id"
        self.id = values.get(self.id_key)
        named = isinstance(self.id, str) and 0 < len(self.id) <= LONGEST_ID
        self.label = f"entry {number} ({self.id!r})" if named else f"entry {number}"

    def read(self) -> ScheduleEntry | None:
        """Return the entry, or None where something is wrong."""
        if not isinstance(self._item, dict):
            self._add(None, f"must be an object, and is {json_type(self._item)}")
            return None
        values = self._native(self._item) if self._is_legacy else self._item
        entry = self._entry(values, self._names())
        return None if self.problems or entry is None else entry

    def _names(self) -> Mapping[str, str]:
        """Return what the native keys are called in this entry."""
        if not self._is_legacy:
            return {}
        return {
            "id": "Id",
            "cron": "Cron",
            "queue": "Topic",
            "task": "TaskMessageTemplate.TaskProcessorName",
        }

    def _native(self, legacy: dict[str, Any]) -> dict[str, Any]:
        """Turn the legacy form into the native one; what is missing there is then missing here."""
        self._check_keys(legacy, _LEGACY_KEYS, "", "; an entry with Id and Cron takes no others")
        native: dict[str, Any] = {"dialect": "robfig-v1"}
        for key, name in (("Id", "id"), ("Cron", "cron"), ("Topic", "queue")):
            if key in legacy:
                native[name] = legacy[key]
        if "Topic" not in legacy:
            self._add("Topic", "is missing")
        template = legacy.get("TaskMessageTemplate")
        if not isinstance(template, dict):
            missing = "TaskMessageTemplate" not in legacy
            reason = "is missing" if missing else f"must be an object, and is {json_type(template)}"
            self._add("TaskMessageTemplate", reason)
            return {**native, "task": "unknown"}
        self._check_keys(template, _TEMPLATE_KEYS, "TaskMessageTemplate.", "")
        if "TaskProcessorName" in template:
            native["task"] = template["TaskProcessorName"]
        arguments = (("TaskParam", "param"), ("Payload", "payload"))
        native["kwargs"] = {name: template[key] for key, name in arguments if key in template}
        return native

    def _check_keys(
        self, values: Mapping[str, Any], known: Sequence[str], place: str, hint: str
    ) -> None:
        for key in values:
            if key in known:
                continue
            near = nearest(key, known)
            self._add(f"{place}{key}", "unknown key" + ("" if near else hint), near)

    def _entry(self, values: dict[str, Any], names: Mapping[str, str]) -> ScheduleEntry | None:
        if not self._is_legacy:
            self._check_keys(values, _NATIVE_KEYS, "", "")
        read: dict[str, Any] = {}
        for key, parse in PARSERS.items():
            if key not in values:
                if key in ("id", "task"):
                    self._add(names.get(key, key), "is missing")
                continue
            try:
                read[key] = parse(values[key])
            except WrongValue as wrong:
                self._add(names.get(key, key), wrong.reason, wrong.near)
        cron = self._cron(values, names.get("cron", "cron"))
        self._check_order(read)
        if self.problems or cron is None:
            return None
        return ScheduleEntry(cron=cron, **read)

    def _cron(self, values: dict[str, Any], key: str) -> CronSchedule | None:
        if "cron" not in values:
            self._add(key, "is missing")
            return None
        try:
            text = read_text(values["cron"])
        except WrongValue as wrong:
            self._add(key, wrong.reason)
            return None
        dialect, zone = self._dialect(values), self._zone(values)
        if dialect is None or zone is None:
            return None
        try:
            cron = CronSchedule.parse(text, dialect, zone)
        except InvalidSchedule as error:
            self._add(key, f"{text!r} is no {_of(dialect)} expression: {error.why}")
            return None
        if cron.has_own_zone and "timezone" in values:
            self._add("timezone", f"the zone is given twice: {key!r} has a prefix with one")
            return None
        return cron

    def _dialect(self, values: dict[str, Any]) -> str | None:
        dialect = values.get("dialect", "auto")
        if isinstance(dialect, str) and dialect in DIALECTS:
            return dialect
        near = nearest(dialect, DIALECTS) if isinstance(dialect, str) else None
        self._add("dialect", f"must be one of {', '.join(DIALECTS)}, and is {shown(dialect)}", near)
        return None

    def _zone(self, values: dict[str, Any]) -> str | None:
        try:
            zone = read_text(values.get("timezone", "UTC"))
            check_zone(zone)
        except WrongValue as wrong:
            self._add("timezone", wrong.reason)
        except ValueError as error:
            self._add("timezone", str(error))
        else:
            return zone
        return None

    def _check_order(self, read: Mapping[str, Any]) -> None:
        start, end = read.get("start"), read.get("end")
        if start is not None and end is not None and end < start:
            self._add("end", "lies before 'start', so that the entry is never due")

    def _add(self, key: str | None, reason: str, near: str | None = None) -> None:
        self.problems.append(Problem(self.label, key, reason, near))


def _of(dialect: str) -> str:
    return "cron" if dialect == "auto" else dialect
