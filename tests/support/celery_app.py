"""A Celery app on the transport `taskq://`, as a user of Celery would write it; `taskq` is not imported, nor is `taskq_kafka`.

Workers get it by `celery -A tests.support.celery_app`, senders import it in a process of their own: `TEST_BROKER`, `TEST_QUEUE`,
`TEST_GROUP` and `TEST_LEDGER` say where.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Celery

from tests.support.ledger import Ledger
from tests.support.waiting import wait_until

HOLD_SECONDS = 120.0
"""How long a held task waits at the most for its test."""

ledger = Ledger(os.environ["TEST_LEDGER"])

app = Celery("wire", broker=os.environ["TEST_BROKER"])
app.conf.update(
    task_default_queue=os.environ["TEST_QUEUE"],
    broker_transport_options={"group": os.environ["TEST_GROUP"]},
    broker_connection_retry_on_startup=False,
    worker_enable_remote_control=False,
    task_acks_late="TEST_ACKS_LATE" in os.environ,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)


@app.task(name="wire.note", bind=True)  # type: ignore[untyped-decorator]  # Celery ships no types
def note(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Write down everything; return the first argument."""
    seen = {
        "args": args,
        "kwargs": kwargs,
        "retries": self.request.retries,
        "tenant": self.request.get("tenant"),
        "redelivered": self.request.delivery_info["redelivered"],
    }
    ledger.write(self.request.id, "ran", json.dumps(seen, default=repr))
    return args[0] if args else None


@app.task(name="wire.hold", bind=True)  # type: ignore[untyped-decorator]  # as above
def hold(self: Any, gate: str) -> None:
    """Begin, and end when a file exists."""
    ledger.write(self.request.id, "began")
    wait_until(Path(gate).exists, timeout=HOLD_SECONDS, what=gate)
    ledger.write(self.request.id, "ran")


@app.task(name="wire.stumble", bind=True, max_retries=3)  # type: ignore[untyped-decorator]  # as above
def stumble(self: Any, times: int) -> None:
    """Ask to be run again until it was so many times."""
    ledger.write(self.request.id, f"attempt-{self.request.retries}")
    if self.request.retries < times:
        raise self.retry(countdown=0)
    ledger.write(self.request.id, "ran")
