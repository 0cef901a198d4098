"""Which offset of a partition may be committed, and what its commit must remember.

Records settle in any order; Kafka keeps one number per partition and group, and a short text beside it (the commit's metadata).
`PartitionOffsets` follows one partition through one assignment and says what to commit: the lowest unfinished offset, and in the
text what is settled above it. A claim is a settle before the run, a late ack one after it: the same arithmetic serves both.

Pure: polling and committing are in consumer.py.

The metadata, format version 1 (ASCII):

    tq1:u<kind><base64>;c<base64>;x<offset>,<milliseconds>;w<stamp>;i<stamp>

`u` says which offsets from the committed one up to the highest settled one are unfinished (`r`: lengths of runs, unfinished
first; `b`: a bitmap), `c` how often unfinished ones were delivered, and whether they had been started, `x` below which offset
records older than an instant may have been run by an earlier life of the group (its offsets had expired), `w` which commit this is,
`i` which one its writer found. What does not apply is left out. A text that does not begin with `tq` is somebody else's and says
nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

METADATA_LIMIT = 4095
"""Characters that a broker accepts with its default `offset.metadata.max.bytes`: 4096, less librdkafka's closing NUL."""

_PREFIX = "tq1:"


class NewerFormat(Exception):
    """The stored state was written by a newer version of taskq; it must not be touched by this one."""

    def __init__(self, metadata: str) -> None:
        super().__init__(
            f"the group's state {metadata[:12]!r}… was written by a newer version of taskq_kafka; "
            "upgrade this worker, it leaves the partition alone"
        )
        self.metadata = metadata


@dataclass(frozen=True, slots=True)
class Expiry:
    """Records below `offset` and older than `cutoff_ms` may have been run before the group's offsets expired."""

    offset: int
    cutoff_ms: int


@dataclass(frozen=True, slots=True)
class Mark:
    """How often an unfinished record was delivered to a function, and whether one was running it."""

    deliveries: int
    started: bool


@dataclass(frozen=True, slots=True)
class State:
    """What stands in the group for one partition: the offset to read next, and what is known above it."""

    offset: int
    unfinished: tuple[int, ...] = ()
    """Offsets from `offset` up to `settled_end` that are not settled; all others there are."""

    settled_end: int = 0
    """One above the highest settled offset; nothing is out of order if it is not above `offset`."""

    marks: dict[int, Mark] = field(default_factory=dict)
    expiry: Expiry | None = None
    stamp: str = ""
    """Names the commit that wrote it, as no other; so who got no answer can find out whether it was taken."""

    inherits: str = ""
    """The stamp that stood in the group when the writer's assignment began."""

    def proves(self, stamp: str) -> bool:
        """Return whether a commit was certainly taken, if this is what the group has stored after it.

        It is the last that was taken, or its writer's heir began where it ended. Of older ones nothing is known.
        """
        return bool(stamp) and stamp in (self.stamp, self.inherits)

    def metadata(self) -> str:
        """Return the commit's metadata. It may be longer than `METADATA_LIMIT`: the caller must look."""
        parts = []
        if self.settled_end > self.offset:
            parts.append("u" + _encode_unfinished(self.offset, self.settled_end, self.unfinished))
        if self.marks:
            parts.append("c" + _encode_marks(self.offset, self.marks))
        if self.expiry is not None and self.expiry.offset > self.offset:
            parts.append(f"x{self.expiry.offset},{self.expiry.cutoff_ms}")
        if self.stamp:
            parts.append("w" + self.stamp)
        if self.inherits:
            parts.append("i" + self.inherits)
        return _PREFIX + ";".join(parts) if parts else ""

    @classmethod
    def parse(cls, offset: int, metadata: str | None) -> State:
        """Read what `metadata` wrote.

        Raises:
            NewerFormat: The text has a version above ours.
        """
        if not metadata or not metadata.startswith("tq"):
            return cls(offset)
        if not metadata.startswith(_PREFIX):
            raise NewerFormat(metadata)
        unfinished: tuple[int, ...] = ()
        settled_end = 0
        marks: dict[int, Mark] = {}
        expiry = None
        stamp = inherits = ""
        for part in metadata[len(_PREFIX) :].split(";"):
            name, text = part[:1], part[1:]
            if name == "u":
                unfinished, settled_end = _decode_unfinished(offset, text)
            elif name == "c":
                marks = _decode_marks(offset, text)
            elif name == "x":
                below, _, cutoff = text.partition(",")
                expiry = Expiry(int(below), int(cutoff))
            elif name == "w":
                stamp = text
            elif name == "i":
                inherits = text
            else:
                raise NewerFormat(metadata)
        return cls(offset, unfinished, settled_end, marks, expiry, stamp, inherits)


class PartitionOffsets:
    """The records of one partition during one assignment: which are in flight, which are settled.

    Offsets have holes (transaction markers, compaction, deleted records), so "the next one" is never the last plus one: what lies
    between two records that were delivered in order does not exist.
    """

    def __init__(self, start: State) -> None:
        """Begin at what the group has stored; `State(0)` for a partition without a committed offset."""
        self._frontier = max(start.offset, start.settled_end)
        self._settled_end = start.settled_end
        # Insertion order is offset order: the frontier only rises, and given-back offsets keep their places.
        self._unfinished: dict[int, None] = dict.fromkeys(start.unfinished)
        self._given_back: set[int] = set(start.unfinished)
        self._marks: dict[int, Mark] = dict(start.marks)
        self._inherits = start.stamp
        self.expiry = start.expiry

    @property
    def in_flight(self) -> int:
        """How many records are delivered and not settled."""
        return len(self._unfinished) - len(self._given_back)

    @property
    def position(self) -> int:
        """The offset to read next: the lowest that was given back, else the one above all that was delivered."""
        return min(self._given_back) if self._given_back else self._frontier

    def deliver(self, offset: int) -> bool:
        """Take note of a fetched record; return whether it is to be handed out.

        It is not if it is in flight already, or settled (also by an earlier owner: its state said so).
        """
        if self._given_back:
            self._drop_missing(offset)
        if offset >= self._frontier:
            self._frontier = offset + 1
            self._unfinished[offset] = None
            return True
        if offset in self._given_back:
            self._given_back.discard(offset)
            return True
        return False

    def reach(self, position: int) -> bool:
        """Take note that nothing lies below `position` but what was delivered (an end-of-partition event).

        Returns:
            Whether the offset to commit has moved: markers at the end would else show as lag for ever.
        """
        if self._given_back:
            self._drop_missing(position)
        if self._unfinished or position <= self._frontier:
            return False
        self._frontier = position
        return True

    def start(self, offsets: Iterable[int]) -> None:
        """Mark records as started by a function that settles them afterwards; counts a delivery each."""
        for offset in offsets:
            before = self._marks.get(offset)
            self._marks[offset] = Mark(before.deliveries + 1 if before else 1, started=True)

    def clear_started(self) -> None:
        """Take back the started-marks (a graceful revoke); the delivery counts stay."""
        self._marks = {
            offset: Mark(mark.deliveries, started=False) for offset, mark in self._marks.items()
        }

    def mark(self, offset: int) -> Mark | None:
        """Return what is known of earlier deliveries of a record."""
        return self._marks.get(offset)

    def settle(self, offsets: Iterable[int]) -> None:
        """Conclude records. Offsets that are not unfinished are passed over (settled twice, or void)."""
        for offset in offsets:
            if offset in self._unfinished:
                del self._unfinished[offset]
                self._given_back.discard(offset)
                self._marks.pop(offset, None)
                if offset >= self._settled_end:
                    self._settled_end = offset + 1

    def give_back(self, offsets: Iterable[int]) -> None:
        """Return delivered records: they will be delivered again after a seek to `position`."""
        self._given_back.update(offset for offset in offsets if offset in self._unfinished)

    def state(self, settling: Collection[int] = (), *, stamp: str = "") -> State:
        """Return what to commit, as if the records `settling` (in flight, each once) were settled already.

        Nothing changes: a claim is entered with `settle` once the broker has said yes.
        """
        inherits = self._inherits
        if len(settling) == len(self._unfinished):
            return State(self._frontier, expiry=self.expiry, stamp=stamp, inherits=inherits)
        settled_end = max(self._settled_end, max(settling) + 1) if settling else self._settled_end
        gone = settling if isinstance(settling, (set, frozenset, dict)) else set(settling)
        unfinished = [offset for offset in self._unfinished if offset not in gone]
        marks = {offset: mark for offset, mark in self._marks.items() if offset not in gone}
        lowest = unfinished[0]
        if settled_end <= lowest:
            return State(lowest, (), 0, marks, self.expiry, stamp, inherits)
        below_end = tuple(offset for offset in unfinished if offset < settled_end)
        return State(lowest, below_end, settled_end, marks, self.expiry, stamp, inherits)

    def _drop_missing(self, offset: int) -> None:
        """Forget given-back records below a record that was fetched after the seek: they exist no more."""
        missing = [back for back in self._given_back if back < offset]
        if missing:
            self.settle(missing)


def _encode_unfinished(base: int, end: int, unfinished: Collection[int]) -> str:
    """Encode which of the offsets in [base, end) are unfinished, in the shorter of two ways."""
    runs = bytearray()
    position, is_unfinished = base, True
    for first, length in _runs(unfinished):
        if first > position:
            if not is_unfinished:
                _put_varint(runs, first - position)
            else:  # the first run of unfinished ones is empty
                _put_varint(runs, 0)
                _put_varint(runs, first - position)
        _put_varint(runs, length)
        position, is_unfinished = first + length, False
    _put_varint(runs, end - position)
    size = (end - base + 7) // 8
    if len(runs) <= size:
        return "r" + _to_text(bytes(runs))
    bits = 0
    for offset in unfinished:
        bits |= 1 << (offset - base)
    return f"b{end - base}." + _to_text(bits.to_bytes(size, "little"))


def _decode_unfinished(base: int, text: str) -> tuple[tuple[int, ...], int]:
    unfinished: list[int] = []
    if text.startswith("b"):
        count, _, rest = text[1:].partition(".")
        bits = int.from_bytes(_from_text(rest), "little")
        length = int(count)
        return tuple(base + i for i in range(length) if bits >> i & 1), base + length
    position, is_unfinished = base, True
    for length in _varints(_from_text(text[1:])):
        if is_unfinished:
            unfinished.extend(range(position, position + length))
        position += length
        is_unfinished = not is_unfinished
    return tuple(unfinished), position


def _encode_marks(base: int, marks: dict[int, Mark]) -> str:
    data = bytearray()
    for offset in sorted(marks):
        _put_varint(data, offset - base)
        _put_varint(data, marks[offset].deliveries * 2 + marks[offset].started)
    return _to_text(bytes(data))


def _decode_marks(base: int, text: str) -> dict[int, Mark]:
    numbers = list(_varints(_from_text(text)))
    return {
        base + numbers[i]: Mark(numbers[i + 1] >> 1, started=bool(numbers[i + 1] & 1))
        for i in range(0, len(numbers), 2)
    }


def _runs(offsets: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, length) of each run of consecutive offsets; they come in rising order."""
    first = last = -1
    for offset in offsets:
        if offset == last + 1 and first >= 0:
            last = offset
            continue
        if first >= 0:
            yield first, last - first + 1
        first = last = offset
    if first >= 0:
        yield first, last - first + 1


def _put_varint(data: bytearray, number: int) -> None:
    while number >= 0x80:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)


def _varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            yield number
            number = shift = 0


def _to_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_text(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(f"unreadable commit metadata {text[:20]!r}") from error
