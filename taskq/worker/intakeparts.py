"""What an intake has for as long as it lives, whatever becomes of its channels."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from taskq.app import App
from taskq.clock import Clock
from taskq.protocols import Rebalance
from taskq.timing.revocation import Revocations
from taskq.worker.blocked import BlockedPartitions
from taskq.worker.claims import Claims
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.hand import Hand
from taskq.worker.keyed import KeyedWork
from taskq.worker.keyorder import KeyOrder
from taskq.worker.moves import Moves
from taskq.worker.outbox import Outbox
from taskq.worker.progress import Progress
from taskq.worker.refusals import Refusals
from taskq.worker.screening import Screen


@dataclass(frozen=True, slots=True)
class IntakeParts:
    """Its thread owns all that is not said to be others' too."""

    queue: str
    """The source."""

    step: int
    """Its priority step."""

    app: App
    dispatcher: Dispatcher
    outbox: Outbox
    clock: Clock
    revoked: Revocations

    stopping: threading.Event
    """Take no more."""

    giving_up: threading.Event
    """Wait no longer for the broker's answer to a claim."""

    letting_go: threading.Event
    """Wait no longer for what is at work."""

    progress: Progress
    claims: Claims
    hand: Hand
    order: KeyOrder
    keyed: KeyedWork
    screen: Screen
    refusals: Refusals
    moves: Moves
    blocked: BlockedPartitions
    rebalances: list[Rebalance]
    """What channels have told and was not looked at yet: also what the close of one told."""


def intake_parts(
    queue: str,
    app: App,
    dispatcher: Dispatcher,
    outbox: Outbox,
    *,
    step: int,
    worker: str,
    clock: Clock,
    revoked: Revocations,
) -> IntakeParts:
    """Make the parts of an intake; see `Intake`.

    Args:
        queue: The source.
        app: Its tasks are what can be run.
        dispatcher: Has the slots.
        outbox: Writes what is handed to the timers.
        step: The source's priority step.
        worker: The worker's name, for dead letters.
        clock: For waits.
        revoked: The tasks that are not to be run.
    """
    stopping, giving_up = threading.Event(), threading.Event()
    progress = Progress(clock.monotonic)
    order = KeyOrder()
    refusals = Refusals(queue, app, stopping=stopping, worker=worker, clock=clock)
    return IntakeParts(
        queue=queue,
        step=step,
        app=app,
        dispatcher=dispatcher,
        outbox=outbox,
        clock=clock,
        revoked=revoked,
        stopping=stopping,
        giving_up=giving_up,
        letting_go=threading.Event(),
        progress=progress,
        claims=Claims(queue, give_up=giving_up.is_set, progress=progress, clock=clock),
        hand=Hand(),
        order=order,
        keyed=KeyedWork(queue, app, order, outbox, worker=worker, clock=clock),
        screen=Screen(app.registry, app.formats, revoked),
        refusals=refusals,
        moves=Moves(queue, app, refusals, stopping=stopping, clock=clock),
        blocked=BlockedPartitions(queue),
        rebalances=[],
    )
