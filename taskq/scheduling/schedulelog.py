"""What stands in the log of schedules: its keys, and its documents in JSON with their versions, in both directions. Pure.

Of a schedule stand there its definition (written by a loader), whether it is paused (by a person's command) and how far it has
come (by the owner of its shard alone); of each thing that is loaded its manifest. What is decided from it is in
`taskq.scheduling.scheduleshard` and `taskq.scheduling.reconcile`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from taskq import jsoncodec
from taskq.instants import read_instant, write_instant
from taskq.scheduling.occurrences import FORMAT as STATE_FORMAT
from taskq.scheduling.occurrences import Definition, State
from taskq.timing.shards import LogRecord, Write

LOG = "taskq.schedules"
"""The log's name, without prefix."""

GROUP = "taskq-beat-"
"""What the group of those begins with who share the shards of one namespace's schedules."""

FORMAT = 1
"""Version of definitions, pauses and manifests; that of states is `taskq.scheduling.occurrences.FORMAT`."""

MOST_FIRED = 20
"""How many of the last occurrences a state names."""

LARGEST_DEFINITION = 1_000_000
"""Bytes. A record of the log may have 1 MiB and 64 KiB, and a state holds the definition in force and some hundred bytes more."""

_LARGEST_IDS = 500_000  # characters of ids in a manifest, which has to be one record


class Part(Enum):
    """What a record is of its schedule; the value ends its key."""

    DEFINITION = ""
    PAUSE = "#pause"
    STATE = "#state"
    MANIFEST = "#manifest/"
    """Of an origin, not of a schedule."""


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a record, read."""

    namespace: str
    id: str
    """The schedule's id; of a manifest its origin."""

    part: Part

    @property
    def name(self) -> str:
        """The schedule's name, `NAMESPACE/ID`."""
        return f"{self.namespace}/{self.id}"


class NewerFormat(ValueError):
    """A document of a version that is not known here: it is to be left untouched."""


MOST_PAUSES = 50
"""That a record keeps: so often is a schedule hardly paused and resumed between two of its occurrences."""


@dataclass(frozen=True, slots=True)
class Pause:
    """From when on a schedule does not send, and until when."""

    since: datetime
    until: datetime | None = None
    """When it was resumed; None: not yet."""

    earlier: tuple[tuple[datetime, datetime], ...] = ()
    """Pauses before this one that the schedule's owner may not have dealt with, oldest first."""

    @property
    def spans(self) -> tuple[tuple[datetime, datetime | None], ...]:
        """From when to when it does not send, oldest first; the last one may be open."""
        return (*self.earlier, (self.since, self.until))

    def paused(self, now: datetime, cursor: datetime | None) -> Pause | None:
        """Return it paused once more, or None where it is paused.

        Args:
            now: From when on.
            cursor: How far the schedule's owner has come: what ended before is dealt with. None: there was none yet.
        """
        if self.until is None:
            return None
        spans = (*self.earlier, (self.since, self.until))
        open_ones = tuple(span for span in spans if cursor is None or span[1] > cursor)
        return Pause(now, earlier=open_ones[-MOST_PAUSES:])

    def resumed(self, now: datetime) -> Pause | None:
        """Return it resumed, or None where it is."""
        return replace(self, until=now) if self.until is None else None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        document: dict[str, Any] = {"format": FORMAT, "paused": self.until is None}
        if self.until is None:
            document["at"] = write_instant(self.since)
        else:
            document |= {"since": write_instant(self.since), "at": write_instant(self.until)}
        if self.earlier:
            document["earlier"] = [[write_instant(at) for at in span] for span in self.earlier]
        return document


@dataclass(frozen=True, slots=True)
class Fired:
    """An occurrence that was sent."""

    planned: datetime
    sent: datetime


@dataclass(frozen=True, slots=True)
class StoredState:
    """How far a schedule has come, and its last occurrences, oldest first."""

    state: State
    fired: tuple[Fired, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        fired = [[write_instant(each.planned), write_instant(each.sent)] for each in self.fired]
        return {**self.state.to_json(), "fired": fired}


@dataclass(frozen=True, slots=True)
class Load:
    """One load of an origin: what was loaded, by whom and when."""

    digest: str
    """Tells the content."""

    host: str
    pid: int
    at: datetime

    def is_by(self, host: str, pid: int) -> bool:
        """Return whether this process did it."""
        return (self.host, self.pid) == (host, pid)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "hash": self.digest,
            "host": self.host,
            "pid": self.pid,
            "at": write_instant(self.at),
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """What of an origin is in force."""

    load: Load
    ids: tuple[str, ...]
    """Sorted; not all of them where they are very many."""

    before: Load | None = None
    """The load of other content that it took the place of."""

    def without(self, ids: Iterable[str]) -> Manifest:
        """Return it without ids: a beat that holds it with them notices, and brings them back."""
        gone = set(ids)
        return replace(self, ids=tuple(id for id in self.ids if id not in gone))

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        before = None if self.before is None else self.before.to_json()
        return {"format": FORMAT, **self.load.to_json(), "ids": list(self.ids), "before": before}


def key_of(name: str, part: Part) -> bytes:
    """Return the key of a schedule's record; `name` is `NAMESPACE/ID`."""
    return f"{name}{part.value}".encode()


def manifest_key(namespace: str, origin: str) -> bytes:
    """Return the key of an origin's manifest."""
    return f"{namespace}{Part.MANIFEST.value}{origin}".encode()


def manifest_route(namespace: str) -> bytes:
    """Return what decides the partition of a namespace's manifests."""
    return f"{namespace}#manifest".encode()


def read_key(key: bytes) -> Key | None:
    """Return what a key says, or None where it is none of ours."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return None
    namespace, mark, origin = text.partition(Part.MANIFEST.value)
    if mark and "/" not in namespace:
        return Key(namespace, origin, Part.MANIFEST) if namespace and origin else None
    namespace, _, id = text.partition("/")
    part = Part.DEFINITION
    for each in (Part.PAUSE, Part.STATE):
        if id.endswith(each.value):
            id, part = id[: -len(each.value)], each
    return Key(namespace, id, part) if namespace and id else None


def write_of(name: str, part: Part, document: Mapping[str, Any] | None) -> Write:
    """Return the write of a schedule's record; a document of None takes it out.

    Raises:
        ValueError: The document cannot be written as JSON.
    """
    value = None if document is None else encode(document)
    return Write(LOG, name.encode(), key_of(name, part), value)


def manifest_write(namespace: str, origin: str, manifest: Manifest | None) -> Write:
    """Return the write of a manifest; None takes it out."""
    value = None if manifest is None else encode(manifest.to_json())
    return Write(LOG, manifest_route(namespace), manifest_key(namespace, origin), value)


def definition_to_json(definition: Definition) -> dict[str, Any]:
    """Return a definition as JSON can hold it, with its version."""
    return {"format": FORMAT, **definition.to_json()}


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document's JSON.

    Raises:
        ValueError: Something in it has none.
    """
    try:
        return jsoncodec.dumps(document)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


SENT_LATER = "\0"
"""Stands for the time of the sending in texts that are made before it. JSON has it nowhere else."""


def fired_text(planned: datetime, sent: str) -> str:
    """Return the JSON of an occurrence that was sent; `sent` is an instant as `write_instant` writes it."""
    return f'["{write_instant(planned)}", "{sent}"]'


def state_text(definition: str, state: State, fired: Sequence[str]) -> bytes:
    """Return the JSON of a `StoredState` from texts: one is written for every occurrence, and most of it stays the same.

    Args:
        definition: The JSON of the state's definition.
        state: How far the schedule has come.
        fired: Its last occurrences, as `fired_text` writes them.
    """
    return (
        f'{{"format": {STATE_FORMAT}, "definition": {definition}, "cursor": "{write_instant(state.cursor)}", '
        f'"anchor": "{write_instant(state.anchor)}", "fired": [{", ".join(fired)}]}}'
    ).encode()


def read_definition(value: bytes) -> Definition:
    """Read a definition.

    Raises:
        NewerFormat: It is of a version that is not known here.
        ValueError: It is none.
    """
    return Definition.from_json(_document(value, FORMAT))


def read_pause(value: bytes) -> Pause:
    """Read whether a schedule is paused; raises as `read_definition`."""
    document = _document(value, FORMAT)
    try:
        at = read_instant(document["at"])
        earlier = tuple(
            (read_instant(since), read_instant(until))
            for since, until in document.get("earlier", ())
        )
        if document["paused"]:
            return Pause(at, earlier=earlier)
        return Pause(read_instant(document.get("since", document["at"])), at, earlier)
    except (KeyError, TypeError) as error:
        raise ValueError(f"no pause of a schedule: {error!r}") from error


def read_state(value: bytes, known: Definition | None = None) -> StoredState:
    """Read how far a schedule has come; raises as `read_definition`. `known` is as for `State.from_json`."""
    document = _document(value, STATE_FORMAT)
    state = State.from_json(document, known)
    try:
        fired = tuple(
            Fired(read_instant(planned), read_instant(sent))
            for planned, sent in document.get("fired", ())
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"no occurrences of a schedule: {error!r}") from error
    return StoredState(state, fired)


def read_manifest(value: bytes) -> Manifest:
    """Read a manifest; raises as `read_definition`."""
    document = _document(value, FORMAT)
    try:
        before = document.get("before")
        return Manifest(
            load=_load(document),
            ids=tuple(map(str, document["ids"])),
            before=None if before is None else _load(before),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"no manifest of schedules: {error!r}") from error


def _load(document: Mapping[str, Any]) -> Load:
    return Load(
        digest=str(document["hash"]),
        host=str(document["host"]),
        pid=int(document["pid"]),
        at=read_instant(document["at"]),
    )


def listed_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Return ids as a manifest holds them: sorted, and no more than one record has room for."""
    found: list[str] = []
    room = _LARGEST_IDS
    for id in sorted(ids):
        room -= len(id) + 4
        if room < 0:
            break
        found.append(id)
    return tuple(found)


def _document(value: bytes, known: int) -> dict[str, Any]:
    document = jsoncodec.loads(value)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    version = document.get("format")
    if not isinstance(version, int) or isinstance(version, bool):
        raise ValueError(f"its format {version!r} is no number")
    if version > known:
        raise NewerFormat(f"it has the format {version}, and this version of taskq knows {known}")
    return document


@dataclass(slots=True)
class Stored:
    """What stands in the log of one schedule."""

    definition: Definition | None = None
    pause: Pause | None = None
    state: StoredState | None = None
    problem: str = ""
    """Why something of it cannot be used."""

    is_newer: bool = False
    """Whether that is because of a newer format."""


@dataclass(slots=True)
class Shelf:
    """What stands in the log of one namespace. Filled by `read_shelf`."""

    namespace: str
    schedules: dict[str, Stored] = field(default_factory=dict)
    """By id; also such that have no definition any more."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    """By origin."""

    def definitions(self) -> dict[str, Definition]:
        """Return the definitions by id, sorted."""
        return {
            id: stored.definition
            for id, stored in sorted(self.schedules.items())
            if stored.definition is not None
        }

    def listing(self, id: str, *, beside: str = "") -> list[str]:
        """Return the origins whose manifests list a schedule; `beside` is one that does not count."""
        return [
            origin
            for origin, manifest in self.manifests.items()
            if origin != beside and id in manifest.ids
        ]


def read_shelves(records: Iterable[LogRecord]) -> dict[str, Shelf]:
    """Return what stands in the log, by namespace."""
    newest: dict[bytes, bytes] = {}
    for record in records:
        newest.pop(record.key, None)
        if record.value is not None:
            newest[record.key] = record.value
    shelves: dict[str, Shelf] = {}
    for raw, value in newest.items():
        key = read_key(raw)
        if key is not None:
            shelf = shelves.setdefault(key.namespace, Shelf(key.namespace))
            _put(shelf, key, value)
    return shelves


def read_shelf(records: Iterable[LogRecord], namespace: str) -> Shelf:
    """Return what stands in the log of one namespace."""
    own = (
        record
        for record in records
        if (key := read_key(record.key)) is not None and key.namespace == namespace
    )
    return read_shelves(own).get(namespace, Shelf(namespace))


def _put(shelf: Shelf, key: Key, value: bytes) -> None:
    if key.part is Part.MANIFEST:
        try:
            shelf.manifests[key.id] = read_manifest(value)
        except ValueError:
            return  # it only serves warnings, and the next load writes it anew
        return
    stored = shelf.schedules.setdefault(key.id, Stored())
    try:
        if key.part is Part.DEFINITION:
            stored.definition = read_definition(value)
        elif key.part is Part.PAUSE:
            stored.pause = read_pause(value)
        else:
            stored.state = read_state(value)
    except ValueError as error:
        stored.problem = f"its {key.part.name.lower()} cannot be read: {error}"
        stored.is_newer = stored.is_newer or isinstance(error, NewerFormat)
