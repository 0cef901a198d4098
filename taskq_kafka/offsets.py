"""Which offset of a partition may be committed, and what its commit must remember.

Records settle in any order; Kafka keeps one number per partition and group, and a short text beside it (the commit's metadata).
`PartitionOffsets` follows one partition through one assignment and says what to commit: the lowest unfinished offset, and in the
text what is settled above it. A claim is a settle before the run, a late ack one after it: the same arithmetic serves both.

Pure: polling and committing are in consumer.py.

The metadata, format version 1 (ASCII):

    tq1:u<kind><base64>;m<base64>;x<offset>,<milliseconds>;w<stamp>;i<stamp>

`u` says which offsets from the committed one up to the highest settled one are unfinished (`r`: lengths of runs, unfinished
first; `b`: a bitmap), `m` how often unfinished ones were delivered, which of them are at work, and how many processes died with
them (`Mark`), `x` below which offset records older than an instant may have been run by an earlier life of the group (its offsets
had expired), `w` which commit this is, `i` which one its writer found. What does not apply is left out. A text that does not begin
with `tq` is somebody else's and says nothing.

Who is to blame for a death. A record that is marked as started when a partition is assigned was at work when its last owner died,
or was cut off: it is a suspect, one of several perhaps. Had it been alone at work there, it is more than that: its death counts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    """What is remembered of an unfinished record that was given to a function which settles it afterwards."""

    deliveries: int
    """How often it was."""

    started: bool
    """Whether it is at work, or was when its last owner died."""

    deaths: int = 0
    """How many processes died with it and certainly nothing else at work."""

    alone: bool = False
    """Of a started one: nothing else is at work in its process."""

    lived: bool = False
    """Whether it has been alone for a good while once, and its process lived: others are likelier to be what one died of."""

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what its last owner died of; of a mark that was found at an assignment."""
        return self.started or self.deaths > 0


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

    _texts: list[str] = field(default_factory=list, compare=False, repr=False)
    """The metadata, once it is made: it is asked for its length, and then for each try of the commit."""

    def proves(self, stamp: str) -> bool:
        """Return whether a commit was certainly taken, if this is what the group has stored after it.

        It is the last that was taken, or its writer's heir began where it ended. Of older ones nothing is known.
        """
        return bool(stamp) and stamp in (self.stamp, self.inherits)

    def metadata(self) -> str:
        """Return the commit's metadata. It may be longer than `METADATA_LIMIT`: the caller must look."""
        if not self._texts:
            self._texts.append(self._written())
        return self._texts[0]

    def _written(self) -> str:
        parts = []
        if self.settled_end > self.offset:
            parts.append("u" + _encode_unfinished(self.offset, self.settled_end, self.unfinished))
        if self.marks:
            end = max(self.offset, self.settled_end)
            parts.append("m" + _encode_marks(self.marks, self.unfinished, end))
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
        marks = ""
        expiry = None
        stamp = inherits = ""
        for part in metadata[len(_PREFIX) :].split(";"):
            name, text = part[:1], part[1:]
            if name == "u":
                unfinished, settled_end = _decode_unfinished(offset, text)
            elif name == "m":
                marks = text
            elif name == "x":
                below, _, cutoff = text.partition(",")
                expiry = Expiry(int(below), int(cutoff))
            elif name == "w":
                stamp = text
            elif name == "i":
                inherits = text
            else:
                raise NewerFormat(metadata)
        found = _decode_marks(marks, unfinished, max(offset, settled_end))
        return cls(offset, unfinished, settled_end, found, expiry, stamp, inherits)


_NOT_DELIVERED = Mark(0, started=False)
_FIRST = Mark(1, started=True)
"""The mark of most started records; made once, because one is entered for every task that settles late."""


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
        self._marks = {offset: _inherited(mark) for offset, mark in start.marks.items()}
        self._started: set[int] = set()
        """Started in this assignment. A mark that was found stays what it is until its record is started again."""

        self._marks_ahead = {offset for offset in start.marks if offset >= self._frontier}
        """Marked by an earlier owner, and not fetched yet."""

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
            if self._marks_ahead:
                self._drop_marks(offset)
                self._marks_ahead.discard(offset)
            self._frontier = offset + 1
            self._unfinished[offset] = None
            return True
        if offset in self._given_back:
            self._given_back.discard(offset)
            return True
        return False

    def reach(self, position: int) -> bool:
        """Take note that nothing lies below `position` but what was delivered (an end-of-partition event).

        It is said once, so it is kept also while records are unfinished: the offset moves there with the last of them.

        Returns:
            Whether the offset to commit has moved: markers at the end would else show as lag for ever.
        """
        if self._given_back:
            self._drop_missing(position)
        if position <= self._frontier:
            return False
        self._drop_marks(position)
        self._frontier = position
        return not self._unfinished

    def start(self, offsets: Iterable[int], alone: Collection[int] = ()) -> None:
        """Mark records as at work in a function that settles them afterwards; counts a delivery each.

        Args:
            offsets: In flight here.
            alone: Those of them beside which nothing is at work in their process.
        """
        started = self._started_marks(offsets, alone)
        self._marks |= started
        self._started |= started.keys()

    def keep_company(self, offsets: Iterable[int]) -> None:
        """Take note that records which were alone at work are not any more: a death proves nothing against them."""
        for offset in self._started.intersection(offsets):
            mark = self._marks[offset]
            self._marks[offset] = Mark(mark.deliveries, True, mark.deaths, lived=True)

    def clear_started(self) -> bool:
        """Take back the marks of what is at work here: it will be somebody else's, and no death is the reason.

        How often it was delivered stays known. Returns whether there was such a mark.
        """
        cleared = [offset for offset in self._started if offset in self._unfinished]
        for offset in cleared:
            self._clear(offset, died=False)
        self._started.clear()
        return bool(cleared)

    def mark(self, offset: int) -> Mark | None:
        """Return what is known of earlier deliveries of a record."""
        return self._marks.get(offset)

    @property
    def lowest(self) -> int | None:
        """The lowest unfinished offset: what is settled above it has to be remembered."""
        return next(iter(self._unfinished), None)

    @property
    def is_lowest_waiting(self) -> bool:
        """Whether the lowest unfinished record is in nobody's hands: it was given back, or an earlier owner had it."""
        return self.lowest in self._given_back

    def _started_marks(self, offsets: Iterable[int], alone: Collection[int]) -> dict[int, Mark]:
        """Return what the marks of records are once they are started; of most it is their first delivery."""
        marks = dict.fromkeys(offsets, _FIRST)
        for offset in (self._marks.keys() & marks.keys()) | (marks.keys() & set(alone)):
            before = self._marks.get(offset, _NOT_DELIVERED)
            marks[offset] = Mark(
                before.deliveries + 1, True, before.deaths, offset in alone, before.lived
            )
        return marks

    def _clear(self, offset: int, *, died: bool) -> None:
        mark = self._marks[offset]
        self._marks[offset] = Mark(mark.deliveries, False, mark.deaths + died, lived=mark.lived)

    def _drop_marks(self, below: int) -> None:
        """Forget what was marked ahead below what is known to come next: it does not exist any more."""
        for offset in [ahead for ahead in self._marks_ahead if ahead < below]:
            del self._marks[offset]
        self._marks_ahead = {ahead for ahead in self._marks_ahead if ahead >= below}

    def settle(self, offsets: Iterable[int]) -> None:
        """Conclude records. Offsets that are not unfinished are passed over (settled twice, or void)."""
        for offset in offsets:
            if offset in self._unfinished:
                del self._unfinished[offset]
                self._given_back.discard(offset)
                if self._marks:
                    self._marks.pop(offset, None)
                    self._started.discard(offset)
                if offset >= self._settled_end:
                    self._settled_end = offset + 1

    def give_back(self, offsets: Iterable[int], *, died: bool = False) -> None:
        """Return delivered records: they will be delivered again after a seek to `position`.

        Args:
            offsets: In flight here; those that were started are not any more.
            died: Whether their process died, and they were alone at work in it.
        """
        for offset in offsets:
            if offset in self._unfinished:
                self._given_back.add(offset)
                if offset in self._started:
                    self._started.discard(offset)
                    self._clear(offset, died=died)

    def state(
        self,
        settling: Collection[int] = (),
        *,
        starting: Collection[int] = (),
        alone: Collection[int] = (),
        stamp: str = "",
    ) -> State:
        """Return what to commit, as if the records `settling` (in flight, each once) were settled, and `starting` started already.

        Nothing changes: a claim is entered with `settle` and `start` once the broker has said yes.
        """
        inherits = self._inherits
        if len(settling) == len(self._unfinished):
            ahead = {offset: self._marks[offset] for offset in self._marks_ahead}
            return State(
                self._frontier, marks=ahead, expiry=self.expiry, stamp=stamp, inherits=inherits
            )
        settled_end = max(self._settled_end, max(settling) + 1) if settling else self._settled_end
        gone = settling if isinstance(settling, (set, frozenset, dict)) else set(settling)
        unfinished = [offset for offset in self._unfinished if offset not in gone]
        marks = {offset: mark for offset, mark in self._marks.items() if offset not in gone}
        if starting:
            marks |= self._started_marks(starting, alone)
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


def _encode_marks(marks: Mapping[int, Mark], unfinished: Sequence[int], end: int) -> str:
    """Encode marks as runs of neighbours that are alike: the gap before it, its length, what they say.

    Neighbours among what is unfinished, where only unfinished ones are marked: how much of it has been settled in between makes
    no run shorter. Above `end` each offset counts.
    """
    data = bytearray()
    position = 0
    for first, length, mark in _mark_runs(_ranked(marks, unfinished, end)):
        _put_varint(data, first - position)
        _put_varint(data, length)
        flags = mark.lived << 3 | (mark.deaths > 0) << 2 | mark.alone << 1 | mark.started
        _put_varint(data, mark.deliveries << 4 | flags)
        if mark.deaths:
            _put_varint(data, mark.deaths)
        position = first + length
    return _to_text(bytes(data))


def _ranked(
    marks: Mapping[int, Mark], unfinished: Sequence[int], end: int
) -> Iterator[tuple[int, Mark]]:
    """Yield each mark with its place among what is unfinished."""
    for rank, offset in enumerate(unfinished):
        if offset in marks:
            yield rank, marks[offset]
    above = len(unfinished) - end
    for offset in sorted(offset for offset in marks if offset >= end):
        yield above + offset, marks[offset]


def _mark_runs(marks: Iterable[tuple[int, Mark]]) -> Iterator[tuple[int, int, Mark]]:
    """Yield (first, length, mark) of each run of consecutive places with equal marks."""
    first, stop, last = 0, -1, _NOT_DELIVERED
    for place, mark in marks:
        # Most are the same object; to compare two costs more than all else here.
        if place == stop and (mark is last or mark == last):
            stop += 1
            continue
        if stop > first:
            yield first, stop - first, last
        first, stop, last = place, place + 1, mark
    if stop > first:
        yield first, stop - first, last


def _decode_marks(text: str, unfinished: Sequence[int], end: int) -> dict[int, Mark]:
    marks: dict[int, Mark] = {}
    position, count = 0, len(unfinished)
    numbers = _varints(_from_text(text))
    for gap in numbers:
        length, code = next(numbers), next(numbers)
        deaths = next(numbers) if code & 4 else 0
        mark = Mark(code >> 4, bool(code & 1), deaths, bool(code & 2), bool(code & 8))
        position += gap
        for place in range(position, position + length):
            marks[unfinished[place] if place < count else end + place - count] = mark
        position += length
    return marks


def _inherited(mark: Mark) -> Mark:
    """Return what a mark says to the next owner: who was at work alone when its process died is what it died of."""
    deaths = mark.deaths + (mark.started and mark.alone)
    return Mark(mark.deliveries, mark.started, deaths, lived=mark.lived)


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
