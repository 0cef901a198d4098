"""The parent's end of one prefork child: what it holds, what is on the way to it, and the verdict when it has died."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from taskq.running.runresult import Result
from taskq.worker.delivery import Delivery
from taskq.worker.pools.childstate import DONE, RECALL_FROM, RECALL_TO, STARTED, ChildState
from taskq.worker.pools.nursery import UNKNOWN_EXIT
from taskq.worker.pools.processes import PoolProcess
from taskq.worker.pools.wire import Done, FrameReader, Task, frame
from taskq.worker.runtimes import LONG

_READ_BYTES = 64 * 1024


@dataclass(slots=True)
class Verdict:
    """What became of what a dead child held. Certain: the child moved its counters in shared memory before and after each run."""

    finished: list[Delivery] = field(default_factory=list)
    """Run to a plain success that it had no time to report."""

    running: list[Delivery] = field(default_factory=list)
    """At most one: started and not done."""

    not_started: list[Delivery] = field(default_factory=list)


class ChildLink:
    """One child and its deliveries, in the order of their numbers. Any thread may hand over; one thread reads."""

    def __init__(
        self,
        lane: int,
        process: PoolProcess,
        link: socket.socket,
        state: ChildState,
        *,
        is_copy: bool,
    ) -> None:
        """Take over a started process.

        Args:
            lane: Its place in the pool.
            process: The process.
            link: The own end of the pair of sockets; made non-blocking here.
            state: What it shares with the child; closed with the link.
            is_copy: Whether it is a copy of the nursery.
        """
        self.lane = lane
        self.process = process
        self.is_copy = is_copy
        self.is_ready = False
        self.failure: str | None = None
        self.is_watched = False
        """Whether the reading thread watches its socket and its end."""

        self.is_dead = False
        """Whether `ensure_dead` has seen its end."""

        self.is_retiring = False
        """Whether it ends after its task, because a limit of its process is met; a successor is wanted already."""

        self.ended_after: float | None = None
        """Seconds that its task had run when it was killed for it: for its time limit, or because it was revoked."""

        link.setblocking(False)
        self._link = link
        self._shared = state
        self._state = state.numbers
        self._guard = threading.Lock()  # for all below
        self._held: dict[int, Delivery] = {}
        self._next_seq = 0
        self._unsent = bytearray()
        self._is_closed = False
        # The reading thread's; the memory is kept, because a new one for each read costs more than the read.
        self._reader = FrameReader()
        self._room = memoryview(bytearray(_READ_BYTES))

    def fileno(self) -> int:
        """Return the socket's number, for selectors."""
        return self._link.fileno()

    @property
    def description(self) -> str:
        """The process in a log line."""
        return f"process {self.process.pid}"

    def held(self) -> list[Delivery]:
        """Return what was handed over and not reported, oldest first."""
        with self._guard:
            return list(self._held.values())

    # Writing

    def hand_over(self, deliveries: Sequence[Delivery]) -> bool:
        """Send deliveries; never waits: what the socket does not take stays here for `flush`.

        Returns:
            False if the child is gone and nothing was taken.
        """
        with self._guard:
            if self._is_closed:
                return False
            tasks: list[Task] = []
            seq = self._next_seq
            for delivery in deliveries:
                record = delivery.record
                delivery.seq = seq
                self._held[seq] = delivery
                tasks.append(
                    (
                        seq,
                        record.queue,
                        record.partition,
                        record.offset,
                        record.timestamp_ms,
                        record.key,
                        list(record.headers),
                        record.value,
                        record.redelivered,
                        record.deliveries,
                        delivery.cost_ns != LONG,
                    )
                )
                seq += 1
            self._next_seq = seq
            self._write(frame(tasks))
            return True

    def tell_to_stop(self) -> None:
        """Ask the child to end after what it holds."""
        with self._guard:
            if not self._is_closed:
                self._write(frame([]))

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        with self._guard:
            self._write(b"")

    def _write(self, data: bytes) -> None:
        self._unsent += data
        # A child that is gone is noticed by the reader; what it was sent is judged by its counters.
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._unsent:
                del self._unsent[: self._link.send(self._unsent)]

    # Reading

    def read(self) -> tuple[list[Any], bool]:
        """Return the messages that arrived, without waiting, and whether the child has closed its end."""
        try:
            size = self._link.recv_into(self._room)
        except BlockingIOError:
            return [], False
        except ConnectionResetError:
            return [], True
        return self._reader.feed(self._room[:size]), not size

    def read_rest(self) -> list[Any]:
        """Return all messages that a dead child has left in the socket."""
        messages: list[Any] = []
        while True:
            try:
                size = self._link.recv_into(self._room)
            except (BlockingIOError, ConnectionResetError):
                return messages
            if not size:
                return messages
            messages += self._reader.feed(self._room[:size])

    def match(self, done: Sequence[Done]) -> list[tuple[Delivery, Result]]:
        """Return the deliveries that a report is about; they are not held any more."""
        with self._guard:
            pop = self._held.pop
            return [(pop(seq), result) for seq, result in done if seq in self._held]

    # Taking back

    def recall(self) -> list[Delivery] | None:
        """Take back what is held and not started; what it runs stays.

        Returns:
            The deliveries; they are not held any more and will not run here. None if the child was in its lock at the moment, and
            for a child that runs nothing.
        """
        with self._guard:
            if self._is_closed or not self._shared.try_lock():
                return None
            try:
                started = self._state[STARTED]
                if started == self._state[DONE]:
                    return None
                self._state[RECALL_FROM] = started
                self._state[RECALL_TO] = self._next_seq
            finally:
                self._shared.unlock()
            back = [seq for seq in self._held if seq >= started]
            return [self._held.pop(seq) for seq in back]

    def running(self) -> Delivery | None:
        """Return the delivery that runs now, if any; it may have ended before this returns."""
        with self._guard:
            started, done = self._state[STARTED], self._state[DONE]
            return self._held.get(started - 1) if started != done else None

    # The end

    def kill_in(self, delivery: Delivery, seconds: float) -> bool:
        """Kill the child if it runs this delivery at the moment, and certainly no other.

        Args:
            delivery: Held here.
            seconds: How long it has run.

        Returns:
            Whether it was killed: not if the delivery has ended, or the child was in its lock.
        """
        with self._guard:
            if self._is_closed or not self._shared.try_lock():
                return False
            started = self._state[STARTED]
            if started == self._state[DONE] or started != delivery.seq + 1:
                self._shared.unlock()
                return False
            # The lock is kept: nothing else starts there before the signal has come.
            self.ended_after = seconds
            self.kill()
            return True

    def ensure_dead(self, patience: float) -> str:
        """Wait for the process to end, kill it if it does not, and say how it ended.

        Args:
            patience: Seconds to wait before the kill. A few more follow it.
        """
        process = self.process
        if process.exitcode is None:  # what its task started may hold open what join() waits for
            process.join(patience)
        if process.is_alive() or (self.is_copy and process.exitcode == UNKNOWN_EXIT):
            self.kill()
            process.join(_KILL_SECONDS)
            self._wait_for_hangup()
        self.is_dead = True
        code = process.exitcode
        if code is not None and code < 0:
            return f"was killed by signal {-code} ({_signal_name(-code)})"
        return "was killed" if code is None else f"ended with exit code {code}"

    def _wait_for_hangup(self) -> None:
        """Wait until the socket's other end is closed, which is certain where nobody can wait for the process."""
        hangup = select.poll()
        hangup.register(self._link.fileno(), 0)
        hangup.poll(_KILL_SECONDS * 1000)

    def kill(self) -> None:
        """Send SIGKILL, unless it is dead: its number may be another process's."""
        if self.process.pid is not None and not self.is_dead:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    def judge(self) -> Verdict:
        """Say what became of what a dead child held, after all its reports were read. It holds nothing afterwards."""
        verdict = Verdict()
        with self._guard:
            self._is_closed = True
            started, done = self._state[STARTED], self._state[DONE]
            for seq, delivery in self._held.items():
                if seq < done:
                    verdict.finished.append(delivery)
                elif seq < started:
                    verdict.running.append(delivery)
                else:
                    verdict.not_started.append(delivery)
            self._held.clear()
            self._link.close()
            self._shared.close()
        return verdict

    def abandon(self) -> None:
        """Kill the process and judge nothing: what it holds stays listed here."""
        self.kill()
        with self._guard:
            self._is_closed = True

    def close(self) -> None:
        """Close the socket and what is shared; for the reading thread, at its end."""
        with self._guard:
            self._is_closed = True
            self._link.close()
            self._shared.close()


_KILL_SECONDS = 5.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
