"""The audit of dead letters that were sent back or discarded: one line of the log for each.

The same stands on the letter's tombstone (`taskq.letters.redrive`), and where it was sent back, in short, on its record.
"""

from __future__ import annotations

import getpass
import logging
import os
import socket
from collections.abc import Iterable

from taskq.letters.deadletters import read_dead_letter
from taskq.letters.redrive import Order
from taskq.printing import escaped
from taskq.protocols import Removal

logger = logging.getLogger(__name__)


def log_removals(removals: Iterable[Removal], order: Order) -> None:
    """Log what was done to each letter."""
    for each in removals:
        view = read_dead_letter(each.letter)
        fields = {
            "id": view.id,
            "task": view.task,
            "queue": view.queue,
            "reason": view.reason,
            "source": view.source,
            "by": order.by,
            "note": order.note,
        }
        what = f"dead letter {view.task or '?'}[{view.id}] ({view.reason}) of {view.source}"
        why = f"by {order.by}{f': {order.note}' if order.note else ''}"
        if each.record is None:
            extra = {"event": "dlq.discarded", **fields}
            logger.info("%s", escaped(f"discarded {what} {why}"), extra=extra)
        else:
            extra = {"event": "dlq.redriven", "to": each.record.queue, **fields}
            logger.info("%s", escaped(f"redriven {what} to {each.record.queue} {why}"), extra=extra)


def who_am_i() -> str:
    """Return USER@HOST of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user often has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
