"""Tasks with hooks that exit, and with traces, for a real worker: `-A tests.support.hook_tasks`; each notes what came with it."""

from __future__ import annotations

import os
import sys

from opentelemetry.sdk.trace import TracerProvider

from taskq import App, current_request
from taskq.contrib.otel import Tracing
from taskq.request import Request
from taskq.sending.publication import Publication
from tests.support.ledger import Ledger

app = App("hooked")
app.middleware.append(Tracing(TracerProvider(shutdown_on_exit=False)))
for hook in ("before_run", "after_run"):
    app.on(hook)(lambda *_: sys.exit(3))


@app.on("before_publish")
def say_who_sent(publication: Publication) -> None:
    """Carry the sending task's name."""
    request = current_request()
    publication.headers["sent-by"] = request.task if request is not None else "nobody"


@app.on("worker_shutdown")
def exit_early() -> None:
    """Exit before the worker does."""
    sys.exit(4)


def note(request: Request) -> None:
    """Write down what came with a task, and which process runs it."""
    trace = request.headers["traceparent"].split("-")[1]
    detail = f"{os.getpid()} {trace} {request.headers['sent-by']}"
    Ledger(os.environ["TEST_LEDGER"]).write(request.id, "ended", detail)


@app.task("outer")
def outer(inner_id: str) -> None:
    """Send another task, with the hooks of this process."""
    request = current_request()
    assert request is not None
    inner.options(task_id=inner_id, queue=request.queue).delay()
    note(request)


@app.task("inner")
def inner() -> None:
    """Come from a task."""
    request = current_request()
    assert request is not None
    note(request)
