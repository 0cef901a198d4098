"""Asking one broker something that each of them could answer.

A client is told of a broker for some seconds after its death (`broker.session.timeout.ms`, 9 by default), and a question to it is
answered by nobody. So the next is asked before time is up. A broker that was frozen for longer than its session is named again only
when it has come back to its controller; while nobody is named, the metadata are asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds for one broker, where there are others to ask; one that lives answers within milliseconds."""

LOOK_AGAIN: Final = 0.1
"""Seconds between two looks at metadata that name no broker."""

NOBODY: Final = 0
"""Asked where the metadata name no broker until the end: the question then fails as every other."""


def ask_any(
    brokers: Callable[[], Collection[int]],
    ask: Callable[[str, float], T],
    deadline: float,
    *,
    unanswered: tuple[type[Exception], ...] = (ConnectionError,),
) -> T:
    """Ask brokers one after the other until one answers, and return that.

    Args:
        brokers: Returns their ids, as the metadata name them now; asked again while it has none.
        ask: Asks the broker of an id, as Kafka's resources are named, until a moment at most (`time.monotonic`).
        deadline: When to give up; the last broker may take all that is left.
        unanswered: What is raised where there was no answer. Any other error is one, and the last broker's is raised, too.
    """
    named = brokers()
    while not named and time.monotonic() + LOOK_AGAIN < deadline:
        time.sleep(LOOK_AGAIN)  # nobody tells when there is one
        named = brokers()
    *others, last = [str(broker) for broker in named] or [str(NOBODY)]
    for broker in others:
        try:
            return ask(broker, min(deadline, time.monotonic() + PATIENCE))
        except unanswered:
            continue
    return ask(last, deadline)
