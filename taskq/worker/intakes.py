"""All intakes of a worker, as one: started, stopped and asked together. One for each queue, and for each of its priority steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from taskq.clock import Clock
from taskq.protocols import IntakeStatus
from taskq.worker.claimwatch import OpenClaim
from taskq.worker.delivery import Delivery
from taskq.worker.health import Pulse
from taskq.worker.intake import Intake
from taskq.worker.metrics import IntakeFacts

_GIVE_BACK_SECONDS = 2.0
"""For intakes to give back what settles late and is not finished, when the worker must end at once."""


class Intakes:
    """Of one worker. The supervisor changes it; any thread may ask."""

    def __init__(self, make: Callable[[str], Intake], sources: Iterable[str], clock: Clock) -> None:
        """Make those of some sources; nothing is started.

        Args:
            make: Makes the intake of a source.
            sources: The worker's queues.
            clock: For waits.
        """
        self._make = make
        self._clock = clock
        self._all: list[Intake] = []
        self.add(sources)

    def add(self, sources: Iterable[str]) -> list[Intake]:
        """Make intakes of more sources, and return them."""
        more = [self._make(source) for source in sources]
        self._all = self._all + more  # replaced as a whole: others may look
        return more

    def start(self) -> None:
        """Start all."""
        for intake in self._all:
            intake.start()

    def stop(self) -> None:
        """Have all take no more and leave their groups; returns at once."""
        for intake in self._all:
            intake.stop()

    def give_up(self) -> None:
        """Have none wait any longer for the answer to a claim."""
        for intake in self._all:
            intake.give_up()

    def let_go(self) -> None:
        """Have given back what settles late: it comes again at once, and nobody takes it for what the worker died of.

        Waits for that, for some seconds at most.
        """
        holding = [intake for intake in self._all if intake.holds_late]
        for intake in holding:
            intake.stop()
            intake.give_up()
            intake.let_go()
        until = self._clock.monotonic() + _GIVE_BACK_SECONDS
        for intake in holding:
            intake.join(max(0.0, until - self._clock.monotonic()))

    # Questions

    @property
    def are_running(self) -> bool:
        """Whether a thread of one lives."""
        return any(intake.is_running for intake in self._all)

    @property
    def hold_late(self) -> bool:
        """Whether one has to stay in its group for what is at work."""
        return any(intake.holds_late for intake in self._all)

    @property
    def lost(self) -> int:
        """How many deliveries were lost to claims that got no definite answer."""
        return sum(intake.lost for intake in self._all)

    @property
    def pulses(self) -> list[Pulse]:
        """What health is judged by."""
        return [intake.pulse for intake in self._all]

    @property
    def facts(self) -> list[IntakeFacts]:
        """What metrics are made of."""
        return [intake.facts for intake in self._all]

    @property
    def statuses(self) -> list[IntakeStatus]:
        """Their places in their groups."""
        return [intake.status for intake in self._all]

    @property
    def steps(self) -> list[str]:
        """The priority steps among the sources."""
        return [intake.queue for intake in self._all if intake.step]

    def claiming(self) -> list[Delivery]:
        """Return what claims are under way for."""
        return [delivery for intake in self._all for delivery in intake.claiming()]

    def open_claims(self) -> Sequence[OpenClaim]:
        """Return the claims that are under way."""
        claims = [intake.open_claim for intake in self._all]
        return [claim for claim in claims if claim is not None]

    def with_first_partition(self) -> list[str]:
        """Return the sources whose first partition is ours: of all workers one has it."""
        return [intake.queue for intake in self._all if 0 in intake.status.partitions]
