"""Partitions, consumer groups and dead letters, by Kafka's rules. Pure: no lock, no clock, no kombu; cluster.py shares one.

Where it is simpler than Kafka: a rebalance takes effect at once (the members hear of it with their next fetch), and what is settled
is committed at once. Both only take away chances to be right by luck: a member that claims after another has joined is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from taskq.memory.murmur2 import partition_of
from taskq.memory.statelog import HostGroup, StateLog
from taskq.protocols import HeaderList, Rebalance, StoredDeadLetter
from taskq_kafka.records import Record


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at an offset."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: HeaderList


@dataclass(slots=True)
class Partition:
    """One log. Offsets count on when it is purged."""

    first: int = 0
    entries: list[Entry] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The offset that the next entry gets."""
        return self.first + len(self.entries)

    def at(self, offset: int) -> Entry:
        """Return the entry at an offset between `first` and `end`."""
        return self.entries[offset - self.first]


@dataclass(slots=True)
class Mark:
    """What a group remembers of an unsettled record that was given to a function which settles it afterwards."""

    deliveries: int = 0
    deaths: int = 0


@dataclass(slots=True)
class Progress:
    """What one group has settled of one partition: all below `next_offset`, and some above."""

    next_offset: int
    above: set[int] = field(default_factory=set)
    marks: dict[int, Mark] = field(default_factory=dict)
    """By offset, of unsettled ones. Here no process dies, so that none is a suspect."""

    def is_settled(self, offset: int) -> bool:
        """Return whether nobody of the group may run the record again."""
        return offset < self.next_offset or offset in self.above

    def settle(self, offset: int) -> None:
        """Conclude one offset, in any order; one that was purged meanwhile is concluded already."""
        self.marks.pop(offset, None)
        if offset >= self.next_offset:
            self.above.add(offset)
        while self.next_offset in self.above:
            self.above.remove(self.next_offset)
            self.next_offset += 1

    def skip_to(self, offset: int) -> None:
        """Conclude all that there is: `offset` is the partition's end, and nothing below it exists any more."""
        self.next_offset = offset
        self.above.clear()
        self.marks.clear()


@dataclass(slots=True)
class Hold:
    """One partition in the hands of a member, since one rebalance."""

    epoch: int
    position: int
    in_flight: set[int] = field(default_factory=set)
    given_back: dict[int, bool] = field(default_factory=dict)
    """Offsets to be delivered again, and whether as `redelivered`."""

    passed_over: set[str] = field(default_factory=set)
    """Why the member takes nothing from it now."""

    def take(self, partition: Partition, progress: Progress) -> tuple[int, bool] | None:
        """Return the next offset to deliver and whether it is redelivered; None if there is none."""
        while self.given_back:
            offset = min(self.given_back)
            redelivered = self.given_back.pop(offset)
            if offset >= partition.first:
                self.in_flight.add(offset)
                return offset, redelivered
        self.position = max(self.position, partition.first)
        while self.position < partition.end:
            offset = self.position
            self.position += 1
            if not progress.is_settled(offset):
                self.in_flight.add(offset)
                return offset, False
        return None


_UNMARKED = Mark()


class Member:
    """One listener of a queue in a group."""

    def __init__(self, group: Group, queue: str) -> None:
        """Make one that has not joined yet.

        Args:
            group: Its group on the topic.
            queue: What its records say of where they are from: the topic without prefix.
        """
        self.group = group
        self.queue = queue
        self.holds: dict[int, Hold] = {}
        self.is_assigned = False
        """Whether it was told an assignment since it joined."""
        self._untold: list[Rebalance] = []
        self._last = -1

    @property
    def is_joined(self) -> bool:
        """Whether it is in the group."""
        return self in self.group.members

    def tell(self, kind: str, partitions: Iterable[int]) -> None:
        """Note a rebalance for its next fetch."""
        self._untold.append(Rebalance(kind, tuple(sorted(partitions))))

    def hear(self) -> list[Rebalance]:
        """Return the rebalances it has not heard of yet."""
        heard, self._untold = self._untold, []
        if any(event.kind == "assigned" for event in heard):
            self.is_assigned = self.is_joined
        return heard

    def take(self, limit: int) -> list[Record]:
        """Return at most `limit` records that are now in flight here, its partitions taking turns."""
        taken: list[Record] = []
        wanted = (number for number, hold in self.holds.items() if not hold.passed_over)
        turn = sorted(wanted, key=lambda number: (number <= self._last, number))
        while turn and len(taken) < limit:
            number = turn.pop(0)
            hold = self.holds[number]
            partition = self.group.partitions[number]
            found = hold.take(partition, self.group.progress[number])
            if found is not None:
                offset, redelivered = found
                taken.append(record_of(self.queue, number, offset, partition.at(offset)))
                mark = self.group.progress[number].marks.get(offset, _UNMARKED)
                taken[-1].epoch, taken[-1].redelivered = (
                    hold.epoch,
                    redelivered or mark is not _UNMARKED,
                )
                taken[-1].deliveries, taken[-1].deaths = mark.deliveries, mark.deaths
                turn.append(number)
                self._last = number
        return taken

    def pass_over(self, partitions: Collection[int], reason: str) -> None:
        """Take nothing from these of its partitions from now on, and again from others that were passed over for this reason."""
        for number, hold in self.holds.items():
            if number in partitions:
                hold.passed_over.add(reason)
            else:
                hold.passed_over.discard(reason)

    def has(self, record: Record) -> bool:
        """Return whether a record is in flight here, so that it may be settled or given back."""
        hold = self.holds.get(record.partition)
        return hold is not None and hold.epoch == record.epoch and record.offset in hold.in_flight

    def settle(self, records: Iterable[Record]) -> list[Record]:
        """Conclude records for the group, and return those that were still in flight here; the others are void."""
        granted = [record for record in records if self.has(record)]
        for record in granted:
            self.holds[record.partition].in_flight.remove(record.offset)
            self.group.progress[record.partition].settle(record.offset)
        return granted

    def start(self, records: Iterable[Record]) -> list[Record]:
        """Count a delivery of records that are settled later, and return those that are in flight here; the others are void."""
        granted = [record for record in records if self.has(record)]
        for record in granted:
            marks = self.group.progress[record.partition].marks
            marks.setdefault(record.offset, Mark()).deliveries += 1
        return granted

    def give_back(
        self, records: Iterable[Record], *, redelivered: bool, died: bool = False
    ) -> None:
        """Have records that are in flight here delivered again; void ones are passed over.

        Args:
            records: What to give back.
            redelivered: Whether they come again as such.
            died: Whether a process died with each of them.
        """
        for record in filter(self.has, records):
            hold = self.holds[record.partition]
            if died:
                marks = self.group.progress[record.partition].marks
                marks.setdefault(record.offset, Mark()).deaths += 1
            hold.in_flight.remove(record.offset)
            hold.given_back[record.offset] = redelivered

    def lag(self) -> int:
        """Return how many records wait on its partitions."""
        return sum(
            max(0, self.group.partitions[number].end - hold.position) + len(hold.given_back)
            for number, hold in self.holds.items()
        )

    def let_go(self, numbers: Iterable[int]) -> None:
        """Lose partitions; what was in flight of them is void."""
        gone = [number for number in numbers if self.holds.pop(number, None) is not None]
        if gone:
            self.tell("revoked", gone)


class Group:
    """One consumer group on one topic: its members and its progress."""

    def __init__(self, partitions: Sequence[Partition], epochs: itertools.count[int]) -> None:
        """Begin without members, at the first record there is.

        Args:
            partitions: The topic's.
            epochs: Numbers for assignments, never given twice.
        """
        self.partitions = partitions
        self.progress = [Progress(partition.first) for partition in partitions]
        self.members: list[Member] = []
        self._epochs = epochs

    def join(self, member: Member) -> None:
        """Let a member in and spread the partitions anew."""
        self.members.append(member)
        self._rebalance(joined=member)

    def leave(self, member: Member) -> None:
        """Let a member go; the others take over its partitions."""
        if member in self.members:
            self.members.remove(member)
            member.is_assigned = False
            member.let_go(list(member.holds))
            self._rebalance()

    def lag(self) -> int:
        """Return how many records nobody of the group has claimed."""
        return sum(
            partition.end - progress.next_offset - len(progress.above)
            for partition, progress in zip(self.partitions, self.progress, strict=True)
        )

    def oldest_ms(self) -> int | None:
        """Return when the oldest record that nobody has claimed was sent; None where none waits."""
        waiting = zip(self.partitions, self.progress, strict=True)
        return min(
            (
                partition.at(progress.next_offset).timestamp_ms
                for partition, progress in waiting
                if progress.next_offset < partition.end
            ),
            default=None,
        )

    def _rebalance(self, joined: Member | None = None) -> None:
        if not self.members:
            return
        shares = spread(len(self.partitions), [set(member.holds) for member in self.members])
        for member, share in zip(self.members, shares, strict=True):
            member.let_go(set(member.holds) - share)
        for member, share in zip(self.members, shares, strict=True):
            gained = share - set(member.holds)
            for number in gained:
                member.holds[number] = Hold(next(self._epochs), self.progress[number].next_offset)
            if gained or member is joined:
                member.tell("assigned", gained)


def spread(partitions: int, held: Sequence[AbstractSet[int]]) -> list[set[int]]:
    """Return each member's share: as even as can be, and each keeps as much of what it has as that allows."""
    least, more = divmod(partitions, len(held))
    largest_first = sorted(range(len(held)), key=lambda index: -len(held[index]))
    sizes = {index: least + (rank < more) for rank, index in enumerate(largest_first)}
    shares = [set(sorted(has)[: sizes[index]]) for index, has in enumerate(held)]
    free = sorted(set(range(partitions)).difference(*shares))
    for index, share in enumerate(shares):
        wanted = sizes[index] - len(share)
        share.update(free[:wanted])
        free = free[wanted:]
    return shares


class Topic:
    """The records of a queue, and the groups that read them."""

    def __init__(self, partitions: int) -> None:
        """Begin with empty partitions."""
        self.partitions = [Partition() for _ in range(partitions)]
        self._groups: dict[str, Group] = {}
        self._epochs = itertools.count(1)
        self._keyless = itertools.count()

    def append(self, entry: Entry) -> None:
        """Write a record: one key always to one partition, those without key in turn."""
        count = len(self.partitions)
        number = (
            next(self._keyless) % count if entry.key is None else partition_of(entry.key, count)
        )
        self.partitions[number].entries.append(entry)

    def group(self, name: str) -> Group:
        """Return a group's place on this topic."""
        if name not in self._groups:
            self._groups[name] = Group(self.partitions, self._epochs)
        return self._groups[name]

    def purge(self) -> None:
        """Delete all records, for every group. What is in flight may still be settled."""
        for number, partition in enumerate(self.partitions):
            partition.first = partition.end
            partition.entries.clear()
            for group in self._groups.values():
                group.progress[number].skip_to(partition.first)


class Log:
    """All topics of a cluster, and the dead letters beside them."""

    def __init__(self) -> None:
        """Begin empty."""
        self.topics: dict[str, Topic] = {}
        self.dead: dict[str, dict[str, StoredDeadLetter]] = {}
        """Dead letters by the topic of their source record and by id: one written twice is one."""

        self.states: dict[str, StateLog] = {}
        """Logs of state, by name with prefix."""

        self.hosts: dict[tuple[str, str], HostGroup] = {}
        """Who owns their shards, by name and group."""

        self.movers: dict[str, int] = {}
        """How many have moved dead letters of a topic; the last one alone may."""

    def create(self, name: str, partitions: int) -> None:
        """Make a topic; one that exists stays as it is."""
        if name not in self.topics:
            self.topics[name] = Topic(partitions)


def record_of(queue: str, number: int, offset: int, entry: Entry) -> Record:
    """Return what stands at an offset as a record that nobody has fetched."""
    return Record(queue, number, offset, entry.timestamp_ms, entry.key, entry.value, entry.headers)
