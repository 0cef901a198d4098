"""What the hooks of publishing are told, what they may change, and that none of them loses a send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from taskq import App
from taskq.errors import EncodeError, InvalidArguments, PublishFailed
from taskq.message import read_headers
from taskq.protocols import Outgoing
from taskq.sending.publication import Publication
from taskq.task import Task
from taskq_kafka.records import Record
from tests.support.fake_broker import FakeBroker, isolated_app


class Noting:
    """Notes what it is told, and changes the headers as it is asked to."""

    def __init__(self, change: Callable[[Publication], None] = lambda publication: None) -> None:
        self.begun: list[Publication] = []
        self.ended: list[tuple[Publication, BaseException | None]] = []
        self._change = change

    def before_publish(self, publication: Publication) -> None:
        self.begun.append(publication)
        self._change(publication)

    def after_publish(self, publication: Publication, error: BaseException | None) -> None:
        self.ended.append((publication, error))


def tenant(publication: Publication) -> None:
    publication.headers["tenant"] = "ACME"


def hooked_app(*middleware: object) -> tuple[App, Task[..., Any, None], FakeBroker]:
    app, broker = isolated_app(default_queue="main")
    app.middleware += middleware

    @app.task("invoice", queue="billing")
    def invoice(customer: str, amount: object = 1) -> None: ...

    return app, invoice, broker


def events_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]


def headers_of(message: Outgoing) -> dict[str, Any]:
    """Return a message's own headers."""
    record = Record(message.queue, 0, 0, -1, message.key, message.value, message.headers)
    headers = read_headers(record).headers
    return {name: value for name, value in headers.items() if name not in ("task", "id")}


def test_hooks_are_told_what_is_sent_and_that_it_was() -> None:
    noting = Noting()
    _, invoice, _ = hooked_app(noting)

    result = invoice.options(key="k", headers={"a": 1}).delay("ACME", amount=3)

    [publication] = noting.begun
    assert noting.ended == [(publication, None)]
    assert (publication.task, publication.id, publication.queue) == (
        "invoice",
        result.id,
        "billing",
    )
    assert (publication.args, dict(publication.kwargs)) == (("ACME",), {"amount": 3})
    assert (publication.key, publication.headers, publication.is_followup) == ("k", {"a": 1}, False)


def test_every_way_to_send_calls_the_hooks() -> None:
    noting = Noting(tenant)
    app, invoice, broker = hooked_app(noting)

    invoice.delay("1")
    invoice.apply_async(("2",))
    invoice.options(queue="other").delay("3")
    invoice.delay_many([("4",), ("5",)])
    asyncio.run(invoice.adelay("6"))
    app.send_task("invoice", ("7",))
    app.send_task("unknown", ("8",))

    assert [each.args for each in noting.begun] == [(str(number),) for number in range(1, 9)]
    assert [(each, None) for each in noting.begun] == noting.ended
    assert [headers_of(message) for message in broker.sent] == [{"tenant": "ACME"}] * 8


def test_a_task_that_is_to_wait_has_the_headers_and_its_time() -> None:
    noting = Noting(tenant)
    app, invoice, broker = hooked_app(noting)

    invoice.options(countdown=60, expires=90).delay("ACME")
    app.send_task("invoice", ("ACME",), countdown=60)

    assert [each.eta for each in noting.begun] == [app.now() + timedelta(seconds=60)] * 2
    assert noting.begun[0].expires == app.now() + timedelta(seconds=90)
    assert [dict(write.headers)["tenant"] for write in broker.kept] == [b"ACME", b"ACME"]


def test_a_hook_does_not_change_the_senders_own_headers() -> None:
    _, invoice, _ = hooked_app(Noting(tenant))
    mine = {"a": 1}

    invoice.apply_async(("ACME",), headers=mine)

    assert mine == {"a": 1}


def test_arguments_that_do_not_fit_call_no_hook() -> None:
    noting = Noting()
    _, invoice, _ = hooked_app(noting)

    with pytest.raises(InvalidArguments):
        invoice.delay()

    assert not noting.begun
    assert not noting.ended


def test_a_task_that_was_not_acknowledged_is_told_with_its_error() -> None:
    noting = Noting()
    _, invoice, broker = hooked_app(noting)
    broker.publisher.fails = lambda message: OSError("away") if b'"2"' in message.value else None

    with pytest.raises(PublishFailed) as caught:
        invoice.delay_many([("1",), ("2",), ("3",)])

    assert [error for _, error in noting.ended] == [None, caught.value, None]


def test_what_cannot_be_written_ends_all_that_were_begun() -> None:
    noting = Noting()
    _, invoice, broker = hooked_app(noting)

    with pytest.raises(EncodeError) as caught:
        invoice.delay_many([("1",), (object(),)])

    assert [error for _, error in noting.ended] == [caught.value, caught.value]
    assert broker.sent == []


@pytest.mark.parametrize("name", ["before_publish", "after_publish"])
def test_a_hook_that_raises_is_logged_and_loses_no_send(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    noting = Noting(tenant)
    app, invoice, broker = hooked_app()

    @app.on(name)
    def fails(publication: Publication, *error: object) -> None:
        publication.headers["half"] = "done"
        raise ValueError("no")

    app.middleware.append(noting)
    invoice.delay("ACME")

    assert [headers_of(message) for message in broker.sent] == [{"tenant": "ACME"}]
    assert len(noting.ended) == 1
    assert events_of(caplog) == ["hook.failed"]


@pytest.mark.parametrize(
    "header", [("task", "other"), ("kombu-x", "reserved"), ("a", object()), (1, "no text")]
)
def test_a_header_that_cannot_be_written_costs_the_hooks_headers_and_no_send(
    header: tuple[Any, object], caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(publication: Publication) -> None:
        del publication.headers["mine"]
        publication.headers[header[0]] = header[1]

    _, invoice, broker = hooked_app(Noting(spoil))

    invoice.options(headers={"mine": 1}).delay("ACME")

    assert [headers_of(message) for message in broker.sent] == [{"mine": 1}]
    assert events_of(caplog) == ["hook.failed"]


def test_what_is_meant_for_the_senders_process_goes_through_a_hook() -> None:
    def interrupt(publication: Publication) -> None:
        raise KeyboardInterrupt

    noting = Noting(interrupt)
    _, invoice, broker = hooked_app(noting)

    with pytest.raises(KeyboardInterrupt):
        invoice.delay("ACME")

    assert broker.sent == []
    assert [type(error) for _, error in noting.ended] == [KeyboardInterrupt]


def test_what_a_hook_sends_is_sent_without_hooks() -> None:
    app, invoice, broker = hooked_app()
    app.on("after_publish")(lambda publication, error: app.send_task("audit", (publication.id,)))

    invoice.delay("ACME")
    invoice.delay("ACME")

    tasks = [dict(message.headers)["task"] for message in broker.sent]
    assert tasks == [b"invoice", b"audit", b"invoice", b"audit"]


def test_hooks_that_come_or_go_count_for_the_next_send() -> None:
    noting = Noting()
    app, invoice, _ = hooked_app(object())

    invoice.delay("1")
    app.middleware.append(noting)
    invoice.delay("2")
    app.middleware.remove(noting)
    invoice.delay("3")

    assert [each.args for each in noting.begun] == [("2",)]


def test_other_hooks_make_no_publication() -> None:
    app, _, _ = hooked_app()
    app.on("before_run")(lambda request: None)

    assert app.sending() is None
