"""Tasks for tests of the wire: each writes its id and what it was given into the ledger that `TEST_LEDGER` names.

Imported by workers (`-A tests.support.wire_tasks`), never by the tests themselves.
"""

from __future__ import annotations

import json
import os
from typing import Any

from taskq import current_request, task
from tests.support.ledger import Ledger

ledger = Ledger(os.environ["TEST_LEDGER"])


@task("wire.note")
def note(*args: Any, **kwargs: Any) -> Any:
    """Write down everything; return the first argument."""
    request = current_request()
    assert request is not None
    seen = {
        "args": args,
        "kwargs": kwargs,
        "headers": dict(request.headers),
        "retries": request.retries,
        "queue": request.queue,
        "partition": request.partition,
        "offset": request.offset,
    }
    ledger.write(request.id, "ran", json.dumps(seen, default=repr))
    return args[0] if args else None


@task("wire.add")
def add(x: int, y: int = 0) -> int:
    """Add two numbers."""
    request = current_request()
    assert request is not None
    ledger.write(request.id, "added", json.dumps([x, y]))
    return x + y


@task("wire.fail")
def fail(why: str) -> None:
    """Fail."""
    raise ValueError(why)
