"""Asking one broker something that each of them could answer.

A client is told of a broker for some seconds after its death (`broker.session.timeout.ms`, 9 by default), and a question to it is
answered by nobody. So the next is asked before time is up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds for one broker, where there are others to ask; one that lives answers within milliseconds."""

NOBODY: Final = 0
"""Asked where the metadata name no broker: the question then fails as every other."""


def ask_any(
    brokers: Iterable[int],
    ask: Callable[[str, float], T],
    deadline: float,
    *,
    unanswered: tuple[type[Exception], ...] = (ConnectionError,),
) -> T:
    """Ask brokers one after the other until one answers, and return that.

    Args:
        brokers: Their ids, as the metadata name them.
        ask: Asks the broker of an id, as Kafka's resources are named, until a moment at most (`time.monotonic`).
        deadline: When to give up; the last broker may take all that is left.
        unanswered: What is raised where there was no answer. Any other error is one, and the last broker's is raised, too.
    """
    *others, last = [str(broker) for broker in brokers] or [str(NOBODY)]
    for broker in others:
        try:
            return ask(broker, min(deadline, time.monotonic() + PATIENCE))
        except unanswered:
            continue
    return ask(last, deadline)
