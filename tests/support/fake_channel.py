"""A channel that gives what a test put into it, and remembers what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from taskq.protocols import IntakeStatus, Rebalance, Record
from taskq.timing.shards import Write


class FakeChannel:
    """A `taskq.protocols.IntakeChannel`. The intake's thread calls the verbs, the test's thread `put` and the attributes."""

    def __init__(self) -> None:
        self.change = threading.Condition()
        self.waiting: list[Record] = []
        self.calls: list[str] = []
        self.claimed: list[int] = []
        self.settled: list[int] = []
        self.started: list[int] = []
        self.alone: list[int] = []
        self.died: list[int] = []
        self.blocked: dict[int, int] = {}
        self.fetched: dict[int, Record] = {}
        self.limits: list[int] = []
        self.refuses: Callable[[Sequence[int]], set[int]] = lambda tags: set()
        self.claim_error: Exception | None = None
        self.moved: list[Write] = []
        self.move_error: Callable[[Sequence[Write]], Exception | None] = lambda writes: None
        self.fetch_error: Exception | None = None
        self.others = 0
        self.is_paused = False
        self.partitions: tuple[int, ...] = (0,)
        self._passed_over: dict[str, frozenset[int]] = {}
        self.is_listening = False
        self.is_closed = False
        self.answers = True
        """Whether a commit gets an answer."""
        self.leaves = threading.Event()
        """While it is not set, closing waits for it, as for other members of the group."""
        self.leaves.set()
        self.on_claim: Callable[[Sequence[int]], None] = lambda tags: None
        self._on_rebalance: Callable[[Rebalance], None] | None = None
        self._before_revoke: Callable[[Collection[int]], None] = lambda partitions: None
        self._rebalance: Rebalance | None = None

    # For tests

    def put(self, *records: Record) -> None:
        """Let records arrive."""
        with self.change:
            self.waiting += records
            self.change.notify_all()

    def rebalance(self, event: Rebalance) -> None:
        """Void all that was fetched, inside the next fetch."""
        with self.change:
            self._rebalance = event
            self.change.notify_all()

    def wait(self, look: Callable[[], object], timeout: float = 10.0) -> None:
        """Wait until `look` is true after some call."""
        with self.change:
            assert self.change.wait_for(look, timeout), f"waited in vain; calls: {self.calls}"

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.change.notify_all()

    # For the intake

    def listen(
        self,
        queue: str,
        *,
        on_rebalance: Callable[[Rebalance], None] | None = None,
        before_revoke: Callable[[Collection[int]], None] = lambda partitions: None,
    ) -> None:
        with self.change:
            self._before_revoke = before_revoke
            self._on_rebalance = on_rebalance
            self.is_listening = True
            self._note("listen")

    def fetch(self, limit: int, timeout: float) -> Sequence[Record]:
        with self.change:
            if self.fetch_error is not None:
                error, self.fetch_error = self.fetch_error, None
                raise error
            self.limits.append(limit)
            self.change.wait_for(
                lambda: (self._wanted() and not self.is_paused) or self._rebalance, timeout
            )
            if self._rebalance is not None:
                event, self._rebalance = self._rebalance, None
                if event.kind == "revoked":
                    self._note("before_revoke")
                    self._before_revoke(event.partitions)
                self.fetched.clear()
                for reason, partitions in self._passed_over.items():
                    self._passed_over[reason] = partitions - set(event.partitions)
                if self._on_rebalance is not None:
                    self._on_rebalance(event)
            if self.is_paused:
                return []
            found = self._wanted()[:limit]
            gone = set(map(id, found))
            self.waiting = [record for record in self.waiting if id(record) not in gone]
            self.fetched |= {record.delivery_tag: record for record in found}
            self._note("fetch")
            return found

    def _wanted(self) -> list[Record]:
        return [record for record in self.waiting if record.partition not in self.passed_over]

    def held(self, tags: Iterable[int]) -> set[int]:
        with self.change:
            return {tag for tag in tags if tag in self.fetched}

    def claim(
        self,
        tags: Sequence[int],
        *,
        start: Collection[int] = (),
        alone: Collection[int] = (),
        give_up: Callable[[], bool] = lambda: False,
    ) -> tuple[Sequence[int], Sequence[int]]:
        self.on_claim(tags)
        with self.change:
            if self.claim_error is not None:
                error, self.claim_error = self.claim_error, None
                raise error
            refused = self.refuses(tags)
            granted = [tag for tag in tags if tag not in refused]
            self.claimed += [tag for tag in granted if tag not in start]
            self.started += [tag for tag in granted if tag in start]
            self.alone += [tag for tag in granted if tag in alone]
            self._note("claim")
            return granted, sorted(refused)

    def move(
        self,
        tags: Sequence[int],
        writes: Sequence[Write],
        *,
        give_up: Callable[[], bool] = lambda: False,
    ) -> tuple[Sequence[int], Sequence[int]]:
        with self.change:
            if (error := self.move_error(writes)) is not None:
                raise error
            refused = self.refuses(tags)
            for tag, write in zip(tags, writes, strict=True):
                if tag not in refused:
                    self.moved.append(write)
                self.fetched.pop(tag)
            self._note("move")
            return [tag for tag in tags if tag not in refused], sorted(refused)

    def settle(self, tags: Sequence[int]) -> None:
        with self.change:
            self.settled += tags
            for tag in tags:
                self.fetched.pop(tag, None)
            self._note("settle")

    def keep_company(self, tags: Sequence[int]) -> None:
        with self.change:
            self.alone = [tag for tag in self.alone if tag not in tags]
            self._note("keep_company")

    def commit(self) -> bool:
        with self.change:
            self._note("commit")
        return self.answers

    def release(self, tags: Sequence[int], *, died: bool = False) -> None:
        with self.change:
            self.died += tags if died else ()
            self.waiting = [self.fetched.pop(tag) for tag in tags] + self.waiting
            self._note("release")

    def pause(self) -> None:
        with self.change:
            self.is_paused = True
            self._note("pause")

    def resume(self) -> None:
        with self.change:
            self.is_paused = False
            self._note("resume")

    @property
    def passed_over(self) -> set[int]:
        """The partitions that are, for whatever reason."""
        return set().union(*self._passed_over.values())

    def pass_over(self, partitions: Collection[int], reason: str) -> None:
        with self.change:
            self._passed_over[reason] = frozenset(partitions)
            self._note("pass_over")

    def leave(self) -> None:
        with self.change:
            self.fetched.clear()
            self._note("leave")

    def rejoin(self) -> None:
        with self.change:
            self._note("rejoin")

    def status(self) -> IntakeStatus:
        return IntakeStatus(
            partitions=self.partitions,
            member=True,
            assigned=self.is_listening,
            lag=len(self.waiting),
            group="taskq",
            protocol="consumer",
            blocked=dict(self.blocked),
        )

    def other_members(self) -> int:
        with self.change:
            self._note("other_members")
            return self.others

    def close(self) -> None:
        self.leaves.wait(10)
        with self.change:
            self.is_closed = True
            self._note("close")
