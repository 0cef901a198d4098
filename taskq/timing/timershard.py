"""One partition of the log `taskq.timers` in memory: which task is due when. Pure; a `taskq.timing.shards.Shard`.

A timer that is far costs an int of 64 bytes and its place in a heap and a dict, because a million may wait: its due time, offset,
size, and hashes of its key. Whole records are kept only of what is due within a minute, as many as there is room for; others are
fetched by their offsets shortly before they are due (`wanted`, `load`).

A heap is not searched: what was taken out of the index stays in it until its time comes, or until half of the heap is such.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from taskq.errors import DecodeError
from taskq.timing import timers
from taskq.timing.shards import Firing, LogRecord
from taskq.timing.timerindex import HASH_BITS, ID_BITS, KEY_BITS, Entry, TimerIndex

logger = logging.getLogger(__name__)

NEAR_MS = 60_000
"""What is due this soon after it was written, or seen, is kept whole if there is room."""

LEAD_MS = 3_000
"""So long before they are due, records that are not kept are fetched. Fetching a thousand takes less."""

ROOM_RECORDS = 4_000
ROOM_BYTES = 4 << 20
"""Records of a shard that are kept as they come; and again so many bytes, and a quarter as many records, that were fetched."""

ASK_AGAIN_MS = 1_000
"""A record that did not come is asked for again after this; one that is gone is followed in the log by what took its place."""

_MOST_STALE = 1_000  # of a heap, before it is built anew
_OVERHEAD = 1_024  # bytes of a record's objects, beside what it holds

_SIZE_BITS, _OFFSET_BITS = 11, 52
_KEY = (1 << KEY_BITS) - 1
_ID = (1 << ID_BITS) - 1
_SIZE = (1 << _SIZE_BITS) - 1
_OFFSET = (1 << _OFFSET_BITS) - 1
_SIZE_AT = HASH_BITS
_OFFSET_AT = _SIZE_AT + _SIZE_BITS
_DUE_AT = _OFFSET_AT + _OFFSET_BITS
# From the highest bits to the lowest: due time, offset, size in KiB, the two hashes. So entries sort by due time, then by their
# order in the log.


@dataclass(slots=True)
class _Cancel:
    """A cancel record, and the timers that it takes out. Their keys are wanted; those that are not kept have to be fetched."""

    id: bytes
    key: bytes
    keys: dict[Entry, bytes] = field(default_factory=dict)
    missing: set[Entry] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Token:
    """What a firing is about."""

    record: LogRecord | None
    """A timer's; None: it cancels."""

    timers: int = 1
    """How many timers it takes out."""


class _Room:
    """Whole records, and how many more there may be."""

    def __init__(self, records: int, size: int) -> None:
        self._records, self._bytes = records, size
        self._half_bytes = size // 2
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def is_free(self) -> bool:
        """Whether one more may come, of any size: so that there is always room for one."""
        return len(self._sizes) < self._records and self._bytes > 0

    @property
    def is_half_free(self) -> bool:
        """Whether one more may come and half of it is still left."""
        return 2 * (len(self._sizes) + 1) <= self._records and self._bytes > self._half_bytes

    def take(self, entry: Entry) -> None:
        """Count an entry's record."""
        self._sizes[entry] = size = (entry >> _SIZE_AT & _SIZE) * 1024 + _OVERHEAD
        self._bytes -= size

    def free(self, entry: Entry) -> None:
        """Count it no more; it may not have been counted."""
        self._bytes += self._sizes.pop(entry, 0)


class TimerShard:
    """What one partition of `taskq.timers` means."""

    def __init__(self, partition: int) -> None:
        """Make an empty one."""
        self._partition = partition
        self._last = -1  # offset
        self._now_ms = 0
        self._index = TimerIndex()
        self._far: list[Entry] = []  # heap
        self._near: list[Entry] = []  # heap; their records are in _whole
        self._whole: dict[Entry, LogRecord] = {}
        self._kept = _Room(ROOM_RECORDS, ROOM_BYTES)
        self._fetched = _Room(ROOM_RECORDS // 4, ROOM_BYTES)
        self._asked: dict[int, Entry] = {}  # by offset
        self._asked_ms = 0
        self._cancels: dict[bytes, _Cancel] = {}  # by key
        self._cancelled: dict[Entry, _Cancel] = {}
        self._to_ask: set[Entry] = set()  # cancelled ones
        self._ready: dict[bytes, _Cancel] = {}
        # Keys that a firing of ours takes out, until the log says so: what is written under one before that is taken out with it.
        self._ending: set[int] = set()
        self._newer: set[int] = set()  # hashes of ids

    def __len__(self) -> int:
        """How many timers wait."""
        return len(self._index)

    # What the log says

    def apply(self, record: LogRecord) -> None:
        """Take the next record of the log."""
        offset = record.offset
        if offset <= self._last:
            return
        self._last = offset
        id = timers.split_key(record.key)[0]
        id_hash, key_hash = hash(id) & _ID, hash(record.key) & _KEY
        if record.value is None:
            self._end(record.key, id_hash, key_hash)
        elif timers.is_cancel(record.key):
            self._cancel(record, id, id_hash)
        else:
            self._add(record, id_hash, key_hash)

    def _add(self, record: LogRecord, id_hash: int, key_hash: int) -> None:
        try:
            due = timers.read_due(record.headers)
        except timers.NewerTimer:
            self._drop(id_hash, key_hash)
            self._leave(record, id_hash)
            return
        except DecodeError:
            due = 0  # becomes a dead letter as soon as anything is taken
        low = id_hash << KEY_BITS | key_hash
        if low in self._ending:
            return
        size = (len(record.value or b"") >> 10) + 1
        if size > _SIZE:
            size = _SIZE
        entry = due << _DUE_AT | record.offset << _OFFSET_AT | size << _SIZE_AT | low
        self._drop(id_hash, key_hash)  # the newest record of a key counts
        self._index.add(entry)
        if self._is_near(due, record) and self._kept.is_free:
            self._kept.take(entry)
            self._whole[entry] = record
            heapq.heappush(self._near, entry)
        else:
            heapq.heappush(self._far, entry)

    def _is_near(self, due_ms: int, record: LogRecord) -> bool:
        soon = due_ms - NEAR_MS
        return soon < self._now_ms or soon < record.timestamp_ms

    def _leave(self, record: LogRecord, id_hash: int) -> None:
        """Leave a record of a newer version untouched, and say so once."""
        if not self._newer:
            logger.warning(
                "%s/%d/%d was written by a newer version of taskq; it is left untouched, and so are others: upgrade this process",
                timers.LOG,
                self._partition,
                record.offset,
                extra={"event": "timers.newer_format"},
            )
        self._newer.add(id_hash)

    def _end(self, key: bytes, id_hash: int, key_hash: int) -> None:
        """Take a key out, because the log says so."""
        self._ending.discard(id_hash << KEY_BITS | key_hash)
        self._drop(id_hash, key_hash)
        cancel = self._cancels.get(key)
        if cancel is not None and not cancel.keys and not cancel.missing:
            del self._cancels[key]
            self._ready.pop(key, None)

    def _drop(self, id_hash: int, key_hash: int) -> None:
        entry = self._index.get(id_hash, key_hash)
        if entry is not None:
            self._remove(entry)

    def _remove(self, entry: Entry) -> None:
        """Take an entry out; it may stay in a heap."""
        self._index.remove(entry)
        self._forget_record(entry)
        # A log that is read from its beginning has ended timers by the million, before it was compacted.
        if len(self._far) > 2 * len(self._index) + _MOST_STALE:
            self._far = [each for each in self._far if self._is_far(each)]
            heapq.heapify(self._far)
        if len(self._near) > 2 * len(self._whole) + _MOST_STALE:
            self._near = [each for each in self._near if each in self._whole]
            heapq.heapify(self._near)

    def _forget_record(self, entry: Entry) -> None:
        self._whole.pop(entry, None)
        self._kept.free(entry)
        self._fetched.free(entry)
        self._asked.pop(entry >> _OFFSET_AT & _OFFSET, None)
        cancel = self._cancelled.pop(entry, None)
        if cancel is not None:
            self._to_ask.discard(entry)
            cancel.keys.pop(entry, None)
            self._found(cancel, entry)

    # Cancelling

    def _cancel(self, record: LogRecord, id: bytes, id_hash: int) -> None:
        try:
            timers.check_cancel(record.value or b"")
        except timers.NewerTimer:
            self._leave(record, id_hash)
            return
        cancel = self._cancels.setdefault(record.key, _Cancel(id, record.key))
        for entry in self._index.of(id_hash):
            if entry in self._cancelled:
                continue
            kept = self._whole.get(entry)
            if kept is None:
                self._cancelled[entry] = cancel
                cancel.missing.add(entry)
                if entry >> _OFFSET_AT & _OFFSET not in self._asked:
                    self._to_ask.add(entry)
            elif timers.split_key(kept.key)[0] == id:  # else another id has its hash
                self._forget_record(entry)
                self._cancelled[entry] = cancel
                cancel.keys[entry] = kept.key
        self._ready.pop(cancel.key, None)
        self._found(cancel, None)

    def _found(self, cancel: _Cancel, entry: Entry | None) -> None:
        """Note that a timer of a cancelled task is no more missing."""
        if entry is not None:
            cancel.missing.discard(entry)
        if not cancel.missing:
            self._ready[cancel.key] = cancel

    # What is due

    def next_due(self) -> int | None:
        """Return when there will be something to take or to fetch."""
        if self._ready:
            return 0
        self._tidy()
        found = []
        if self._near:
            found.append(self._near[0] >> _DUE_AT)
        if self._fetched.is_free:
            if self._to_ask:
                return 0
            if self._far:
                found.append((self._far[0] >> _DUE_AT) - self._lead_ms)
        if self._asked:
            found.append(self._asked_ms + ASK_AGAIN_MS)
        return min(found, default=None)

    def _tidy(self) -> None:
        """Take from the tops of the heaps what is no more."""
        while self._near and self._near[0] not in self._whole:
            heapq.heappop(self._near)
        while self._far and not self._is_far(self._far[0]):
            heapq.heappop(self._far)

    def _is_far(self, entry: Entry) -> bool:
        """Return whether an entry of that heap waits, and its record is neither here nor asked for."""
        return entry in self._index and entry not in self._cancelled and entry not in self._whole

    def wanted(self, now_ms: int) -> Sequence[int]:
        """Return the offsets of records that are to be fetched."""
        self._now_ms = now_ms
        offsets: list[int] = []
        if not 0 <= now_ms - self._asked_ms < ASK_AGAIN_MS:
            offsets += self._asked
            self._asked_ms = now_ms
        while self._fetched.is_free:
            entry = self._next_to_fetch(now_ms)
            if entry is None:
                break
            self._fetched.take(entry)
            offset = entry >> _OFFSET_AT & _OFFSET
            self._asked[offset] = entry
            offsets.append(offset)
        return offsets

    def _next_to_fetch(self, now_ms: int) -> Entry | None:
        if self._to_ask:
            return self._to_ask.pop()
        while self._far and (self._far[0] >> _DUE_AT) - self._lead_ms <= now_ms:
            entry = heapq.heappop(self._far)
            if self._is_far(entry):
                return entry
        return None

    @property
    def _lead_ms(self) -> int:
        """How long before it is due a record may be fetched: half of the room is for those that are due, which are soon gone."""
        return LEAD_MS if self._fetched.is_half_free else 0

    def load(self, records: Sequence[LogRecord]) -> None:
        """Take records that were fetched."""
        for record in records:
            entry = self._asked.pop(record.offset, None)
            if entry is None:
                continue
            cancel = self._cancelled.get(entry)
            if cancel is None:
                self._keep(entry, record)
            elif timers.split_key(record.key)[0] == cancel.id:
                self._fetched.free(entry)
                cancel.keys[entry] = record.key
                self._found(cancel, entry)
            else:  # another id with its hash
                del self._cancelled[entry]
                self._found(cancel, entry)
                self._keep(entry, record)

    def _keep(self, entry: Entry, record: LogRecord) -> None:
        self._whole[entry] = record
        heapq.heappush(self._near, entry)

    def take(self, now_ms: int, limit: int) -> Sequence[Firing]:
        """Return firings that are due."""
        self._now_ms = now_ms
        firings: list[Firing] = []
        while self._ready and len(firings) < limit:
            _, cancel = self._ready.popitem()
            firings += self._cancelling(cancel)
        while len(firings) < limit and self._near and self._near[0] >> _DUE_AT <= now_ms:
            entry = heapq.heappop(self._near)
            record = self._whole.get(entry)
            if record is not None:
                self._take_out(entry)
                firings.append(self._firing(record))
        return firings

    def _take_out(self, entry: Entry) -> None:
        self._remove(entry)
        self._ending.add(entry & (1 << HASH_BITS) - 1)

    def _firing(self, record: LogRecord) -> Firing:
        token = _Token(record)
        end = ((record.key, None),)
        try:
            timer = timers.read_timer(record)
        except DecodeError as error:
            letter = timers.letter(
                record, reason=error.reason, error=error.why, now_ms=self._now_ms
            )
            return Firing(timers.id_text(record.key), (), end, (letter,), token)
        return Firing(timer.task_id, (timer.fired(self._now_ms),), end, (), token)

    def _cancelling(self, cancel: _Cancel) -> Iterator[Firing]:
        """Return the firing of a cancel record, if it has anything to write."""
        del self._cancels[cancel.key]
        keys = dict(cancel.keys)
        for entry in keys:
            self._take_out(entry)
        self._ready.pop(cancel.key, None)
        writes = [(key, None) for key in keys.values()]
        if (
            hash(cancel.id) & _ID not in self._newer
        ):  # else a timer of a newer version has to see it
            writes.append((cancel.key, None))
        if writes:
            yield Firing(timers.id_text(cancel.key), (), writes, (), _Token(None, len(keys)))

    def settle(self, firings: Sequence[Firing]) -> None:
        """Say what became of firings that cancel or put aside; they are known as ending until the log's tombstones come."""
        for firing in firings:
            token = firing.token
            if not isinstance(token, _Token):
                continue
            if token.record is None and token.timers:
                logger.info(
                    "task %s is cancelled: it was waiting for its time",
                    firing.name,
                    extra={"event": "timers.cancelled", "id": firing.name},
                )
            for letter in firing.letters:
                logger.error(
                    "task %s cannot be sent when its time has come: dead letter %s in %s.dlq",
                    firing.name,
                    letter.key.decode(),
                    timers.LOG,
                    extra={"event": "timers.dead_letter", "id": firing.name},
                )

    def give_up(self, firing: Firing, reason: str, error: str) -> Firing:
        """Return the firing that puts a timer aside in the place of one that the broker refuses."""
        token = firing.token
        if not isinstance(token, _Token) or token.record is None or firing.letters:
            return firing  # nothing of the task's is in it
        letter = timers.letter(token.record, reason=reason, error=error, now_ms=self._now_ms)
        return Firing(firing.name, (), firing.writes, (letter,), token)
