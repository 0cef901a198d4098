"""Traces with OpenTelemetry (extra `otel`): a span for each send and each run, and the context between them in the headers.

Attributes follow the semantic conventions for messaging and for Kafka. Only the API is used: without a tracer provider of the
user's the spans cost little and go nowhere, and a context that came with a message still goes on with what its task sends.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

try:
    from opentelemetry import context as contexts
    from opentelemetry import propagate, trace
except ImportError as error:
    raise ImportError(
        "taskq.contrib.otel needs OpenTelemetry: pip install 'taskq-kafka[otel]'"
    ) from error

from taskq.outcome import Outcome, Rejected
from taskq.request import Request
from taskq.sending.publication import Publication


@dataclass(frozen=True, slots=True)
class _Run:
    """The span of a run, the context that it makes, and what undoes that context."""

    span: trace.Span
    context: contexts.Context
    token: Token[contexts.Context]


class Tracing:
    """A middleware that traces: `app.middleware.append(Tracing())`. Any thread may call it.

    Spans are named by operation and task (`send invoice`, `process invoice`), not by operation and queue, as the conventions
    suggest: many tasks share a queue, and a name is what people look for. The queue is an attribute.
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        """Prepare.

        Args:
            tracer_provider: Where spans go; None: the global one, also if it is set later.
        """
        self._provider = tracer_provider
        self._tracer = trace.get_tracer("taskq", tracer_provider=tracer_provider)
        self._sends: dict[Publication, trace.Span] = {}
        self._run: ContextVar[_Run | None] = ContextVar("taskq_otel_run", default=None)

    def before_publish(self, publication: Publication) -> None:
        """Begin the span of a send and write its context into the headers; for a follow-up the context of the run before it."""
        if publication.is_followup:
            # Its run's context may have been left by now: errbacks are written after `after_run`.
            run = self._run.get()
            propagate.inject(publication.headers, context=run.context if run else None)
            return
        span = self._tracer.start_span(
            f"send {publication.task}",
            kind=trace.SpanKind.PRODUCER,
            attributes=_of_publication(publication),
        )
        self._sends[publication] = span
        propagate.inject(publication.headers, context=trace.set_span_in_context(span))

    def after_publish(self, publication: Publication, error: BaseException | None) -> None:
        """End the span of a send."""
        span = self._sends.pop(publication, None)
        if span is None:
            return
        if error is not None:
            _fail(span, error)
        span.end()

    def before_run(self, request: Request) -> None:
        """Begin the span of a run, as a child of the span that sent it, and make it the current one."""
        self._run.set(None)
        carrier = {name: text for name, text in request.headers.items() if isinstance(text, str)}
        parent = propagate.extract(carrier)
        span = self._tracer.start_span(
            f"process {request.task}",
            context=parent,
            kind=trace.SpanKind.CONSUMER,
            attributes=_of_request(request),
        )
        context = trace.set_span_in_context(span, parent)
        self._run.set(_Run(span, context, contexts.attach(context)))

    def on_failure(self, request: Request, error: BaseException) -> None:
        """Note the error on the span."""
        self._note(error)

    def on_retry(self, request: Request, error: BaseException) -> None:
        """Note the error on the span: this attempt has failed."""
        self._note(error)

    def after_run(self, request: Request, outcome: Outcome) -> None:
        """End the span of a run."""
        run = self._run.get()
        if run is None:
            return
        run.span.set_attribute("taskq.outcome", type(outcome).__name__.lower())
        if isinstance(outcome, Rejected):
            run.span.set_status(trace.StatusCode.ERROR, outcome.reason)
        contexts.detach(run.token)
        run.span.end()

    def worker_process_shutdown(self) -> None:
        """Have the provider export what it holds: a pool process ends without what Python does at an exit."""
        flush = getattr(self._provider or trace.get_tracer_provider(), "force_flush", None)
        if flush is not None:
            flush()

    def _note(self, error: BaseException) -> None:
        run = self._run.get()
        if run is not None:
            _fail(run.span, error)


def _fail(span: trace.Span, error: BaseException) -> None:
    span.record_exception(error)
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}")


def _of_publication(publication: Publication) -> dict[str, Any]:
    found = _common("send", publication.queue, publication.id, publication.task)
    if isinstance(publication.key, str):
        found["messaging.kafka.message.key"] = publication.key
    return found


def _of_request(request: Request) -> dict[str, Any]:
    found = _common("process", request.queue, request.id, request.task)
    found |= {
        "messaging.consumer.group.name": request.group,
        "messaging.destination.partition.id": str(request.partition),
        "messaging.kafka.offset": request.offset,
    }
    if request.retries:
        found["taskq.retries"] = request.retries
    return found


def _common(operation: str, queue: str, id: str, task: str) -> dict[str, Any]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "messaging.message.id": id,
        "taskq.task": task,
    }
