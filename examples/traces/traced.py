"""Traces with OpenTelemetry: one trace from a request to the tasks, and to what these send.

Runs on `memory://`, so that one process sees all spans; a worker has them just so (docs/how-to/middleware.md).
"""

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taskq import default_app, task
from taskq.contrib.otel import Tracing
from taskq.testing import on_memory

default_app.middleware.append(Tracing())


@task("order", queue="orders")
def order(item: str) -> None:
    """Send a mail in a minute; charge now."""
    mail.options(countdown=60).delay(f"your {item} is on its way")
    charge.delay(10)


@task("mail", queue="mails")
def mail(text: str) -> None:
    """Write a mail."""


@task("charge", queue="billing")
def charge(amount: int) -> None:
    """Fail."""
    raise ConnectionError("the bank does not answer")


def show(spans: Sequence[ReadableSpan], parent: int | None = None, depth: int = 0) -> None:
    """Print spans as a tree."""
    for span in sorted(spans, key=lambda span: span.name):
        if (span.parent.span_id if span.parent else None) == parent and span.context:
            found = span.attributes or {}
            queue = found.get("messaging.destination.name", "")
            print(f"{'. ' * depth}{span.name} {queue} {found.get('error.type', '')}".rstrip())
            show(spans, span.context.span_id, depth + 1)


def main() -> None:
    """Send an order within a request, run all tasks, and print the trace."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    with on_memory() as tasks:
        with trace.get_tracer("shop").start_as_current_span("POST /orders"):
            order.delay("book")
        tasks.run_until_idle(raise_errors=False)
        tasks.clock.advance(60)
        tasks.run_until_idle()
    spans = exporter.get_finished_spans()
    show(spans)
    print(
        f"{len(spans)} spans, {len({span.context.trace_id for span in spans if span.context})} trace"
    )


if __name__ == "__main__":
    main()
