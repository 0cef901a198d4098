"""What the lab does to workers and brokers, and what each fault may cost. Pure."""

from __future__ import annotations

import enum
import random
from collections import Counter
from collections.abc import Mapping

SLOTS = 4
"""Of each worker (`-c`)."""

CLAIM_AHEAD = 64
"""Tasks a slot may hold claimed ahead: the default of `--claim-ahead`."""


class Fault(enum.Enum):
    """One kind of fault."""

    KILL_WORKER = "kill -9 of a worker with its children"
    KILL_PARENT = "kill -9 of a worker's parent process alone"
    KILL_CHILD = "kill -9 of one child"
    FREEZE_WORKER = "SIGSTOP of a worker with its children, SIGCONT later"
    FREEZE_PARENT = "SIGSTOP of a worker's parent process alone, SIGCONT later"
    PARTITION = "a worker loses its connections to all brokers, runs on, and has them back later"
    JOIN = "another worker joins"
    LEAVE = "SIGTERM to a worker"
    ROLL_WORKERS = "rolling restart of the workers: SIGTERM to each, a new one in its place"
    STOP_BROKER = "SIGTERM to a broker, and a new start"
    KILL_BROKER = "kill -9 of a broker, and a new start"
    ROLL_BROKERS = "rolling restart of the brokers"
    MOVE_LEADERS = "half of all partitions are given another leader"


OF_BROKERS = (Fault.STOP_BROKER, Fault.KILL_BROKER, Fault.ROLL_BROKERS, Fault.MOVE_LEADERS)
"""Faults of brokers; all others are of workers."""

OF_CLUSTERS = frozenset({Fault.ROLL_BROKERS, Fault.MOVE_LEADERS})
"""Faults that need more than one broker."""


MOST_LOST: Mapping[Fault, int] = {
    Fault.KILL_WORKER: SLOTS * (1 + CLAIM_AHEAD),
    Fault.KILL_PARENT: SLOTS * (1 + CLAIM_AHEAD),
    Fault.KILL_CHILD: 1,
    Fault.PARTITION: SLOTS * (1 + CLAIM_AHEAD),
}
"""Tasks that may never start because of one fault: what was claimed. What a dead child had not started is handed out again. A
worker that is cut off may have claimed, and must not run what it never heard to be its own. All other faults cost nothing."""

MOST_CUT_SHORT: Mapping[Fault, int] = {Fault.KILL_WORKER: SLOTS, Fault.KILL_CHILD: 1}
"""Tasks that may have started and not ended because of one fault. Orphaned children finish what they run."""

WORKER_MIX: Mapping[Fault, int] = {
    Fault.KILL_WORKER: 5,
    Fault.KILL_PARENT: 3,
    Fault.KILL_CHILD: 5,
    Fault.FREEZE_WORKER: 4,
    Fault.FREEZE_PARENT: 2,
    Fault.PARTITION: 4,
    Fault.JOIN: 3,
    Fault.LEAVE: 4,
}
"""Shares of the plain mix: 30 in all."""

HARMLESS_MIX: Mapping[Fault, int] = {
    Fault.FREEZE_WORKER: 3,
    Fault.FREEZE_PARENT: 1,
    Fault.JOIN: 2,
    Fault.LEAVE: 2,
}
"""Faults that must cost nothing at all."""

BROKER_MIX: Mapping[Fault, int] = {Fault.STOP_BROKER: 2, Fault.KILL_BROKER: 2}

EVERYTHING_MIX: Mapping[Fault, int] = {
    **WORKER_MIX,
    Fault.ROLL_WORKERS: 1,
    Fault.STOP_BROKER: 1,
    Fault.KILL_BROKER: 1,
}

CLUSTER_MIX: Mapping[Fault, int] = {
    **EVERYTHING_MIX,
    Fault.KILL_BROKER: 3,
    Fault.ROLL_BROKERS: 1,
    Fault.MOVE_LEADERS: 4,
}
"""For three brokers, of which one at a time may be away."""

CLUSTER_BROKER_MIX: Mapping[Fault, int] = {Fault.KILL_BROKER: 1, Fault.MOVE_LEADERS: 1}


def draw(mix: Mapping[Fault, int], count: int, dice: random.Random) -> list[Fault]:
    """Return `count` faults in random order, their numbers as near to the mix as possible."""
    bag = [fault for fault, share in mix.items() for _ in range(share)]
    drawn: list[Fault] = []
    while len(drawn) < count:
        dice.shuffle(bag)
        drawn += bag[: count - len(drawn)]
    return drawn


def most(costs: Mapping[Fault, int], done: Mapping[Fault, int]) -> int:
    """Return what the faults that were done may cost together."""
    return sum(costs.get(fault, 0) * count for fault, count in Counter(done).items())
