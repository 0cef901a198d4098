"""What spans there are of sends and runs, and how they hang together, on `memory://`."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from typing import NoReturn

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taskq import App, Reject
from taskq.contrib.otel import Tracing
from taskq.errors import PublishFailed
from taskq.message import encode
from taskq.protocols import Outgoing
from taskq.sources import Sources
from taskq.testing import on_memory
from tests.support.fake_broker import isolated_app


class Traces:
    """A tracer provider and what it was given, oldest end first."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans by name."""
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def parents(self) -> dict[str, str | None]:
        """Return the name of each span's parent."""
        names = {span.context.span_id: name for name, span in self.spans.items() if span.context}
        return {
            name: names[span.parent.span_id] if span.parent else None
            for name, span in self.spans.items()
        }


@pytest.fixture
def traces() -> Traces:
    return Traces()


@pytest.fixture
def app(traces: Traces) -> App:
    app = App("traced")
    app.adopt(Sources())
    app.middleware.append(Tracing(traces.provider))
    return app


def test_a_run_is_the_child_of_its_send_and_the_parent_of_what_it_sends(
    app: App, traces: Traces
) -> None:
    mail = app.task("mail")(lambda: None)

    @app.task("order", queue="orders")
    def order() -> None:
        mail.delay()

    with on_memory(app) as testing, traces.provider.get_tracer("web").start_as_current_span("web"):
        result = order.options(key="ACME", countdown=60).delay()
        testing.clock.advance(60)
        testing.run_until_idle()

    assert traces.parents() == {
        "web": None,
        "send order": "web",
        "process order": "send order",
        "send mail": "process order",
        "process mail": "send mail",
    }
    sent, ran = traces.spans["send order"], traces.spans["process order"]
    assert (sent.kind, ran.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)
    common = {
        "messaging.system": "kafka",
        "messaging.destination.name": "orders",
        "messaging.message.id": result.id,
        "taskq.task": "order",
    }
    assert dict(sent.attributes or {}) == {
        **common,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.kafka.message.key": "ACME",
    }
    partition = (ran.attributes or {}).get("messaging.destination.partition.id")
    assert dict(ran.attributes or {}) == {
        **common,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "taskq",
        "messaging.destination.partition.id": partition,
        "messaging.kafka.offset": 0,
        "taskq.outcome": "succeeded",
    }


def test_after_a_run_its_span_is_not_current_any_more(app: App, traces: Traces) -> None:
    note = app.task("note")(lambda: trace.get_current_span().get_span_context().is_valid)

    with on_memory(app) as testing:
        note.delay()
        [run] = testing.run_until_idle()

    assert run.result is True
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_async_task_has_its_span(app: App, traces: Traces) -> None:
    @app.task("look")
    async def look() -> bool:
        await asyncio.sleep(0)
        return trace.get_current_span().get_span_context().is_valid

    with on_memory(app) as testing:
        look.delay()
        [run] = testing.run_until_idle()
        look.delay()
        [other] = asyncio.run(testing.arun_until_idle())

    assert (run.result, other.result) == (True, True)
    assert traces.parents()["process look"] == "send look"


def test_a_failure_stands_on_the_span(app: App, traces: Traces) -> None:
    @app.task("pay")
    def pay() -> NoReturn:
        raise ValueError("no money")

    with on_memory(app) as testing:
        pay.delay()
        testing.run_until_idle(raise_errors=False)

    span = traces.spans["process pay"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == "ValueError: no money"
    assert [event.name for event in span.events] == ["exception"]
    assert (span.attributes or {})["error.type"] == "ValueError"
    assert (span.attributes or {})["taskq.outcome"] == "failed"


def test_a_rejected_task_is_an_error(app: App, traces: Traces) -> None:
    @app.task("pay")
    def pay() -> NoReturn:
        raise Reject("no such customer")

    with on_memory(app) as testing:
        pay.delay()
        testing.run_until_idle(raise_errors=False)

    assert traces.spans["process pay"].status.description == "no such customer"


def test_a_send_that_failed_is_an_error(traces: Traces) -> None:
    app, broker = isolated_app()
    app.middleware.append(Tracing(traces.provider))
    broker.publisher.fails = lambda message: OSError("away")

    with pytest.raises(PublishFailed):
        app.send_task("pay")

    assert traces.spans["send pay"].status.status_code is trace.StatusCode.ERROR
    assert (traces.spans["send pay"].attributes or {})["error.type"] == "PublishFailed"


@pytest.mark.parametrize(("fails", "part"), [(False, "callbacks"), (True, "errbacks")])
def test_what_follows_a_run_is_its_child(app: App, traces: Traces, fails: bool, part: str) -> None:
    app.task("first")(lambda: 1 / 0 if fails else 1)
    app.task("next")(lambda _: None)
    embed = {part: [{"task": "next", "args": [], "kwargs": {}, "options": {}}]}

    with on_memory(app) as testing:
        value, headers = encode("first", "1", (), {}, embed=embed)
        app.broker.publish([Outgoing("taskq", value, headers)])
        testing.run_until_idle(raise_errors=False)

    assert traces.parents() == {"process first": None, "process next": "process first"}


@pytest.mark.parametrize("header", ["nonsense", 7, {"a": 1}, "00-0-0-00"])
def test_a_context_that_cannot_be_read_begins_a_trace(
    app: App, traces: Traces, header: object
) -> None:
    app.task("note")(lambda: None)

    with on_memory(app) as testing:
        value, headers = encode("note", "1", (), {}, headers={"traceparent": header})
        app.broker.publish([Outgoing("taskq", value, headers)])
        testing.run_until_idle()

    assert traces.parents() == {"process note": None}


def test_without_a_provider_the_senders_context_goes_on() -> None:
    app, broker = isolated_app()
    app.middleware.append(Tracing(trace.NoOpTracerProvider()))
    parent = trace.SpanContext(7, 9, is_remote=True)

    with trace.use_span(trace.NonRecordingSpan(parent)):
        app.send_task("note")

    written = dict(broker.sent[0].headers)["traceparent"].decode()
    assert written == f"00-{7:032x}-{9:016x}-00"


def test_without_opentelemetry_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "taskq.contrib.otel")

    with pytest.raises(ImportError, match=r"pip install 'taskq-kafka\[otel\]'"):
        import_module("taskq.contrib.otel")


def test_the_end_of_a_process_flushes_the_provider(traces: Traces) -> None:
    flushed: list[str] = []

    class Provider(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            flushed.append("yes")
            return True

    Tracing(Provider(shutdown_on_exit=False)).worker_process_shutdown()

    assert flushed == ["yes"]
