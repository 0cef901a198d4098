"""When a task is to run: the options of a send, and what is written for them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from taskq.errors import InvalidArguments
from taskq.message import read_headers
from taskq.protocols import Outgoing
from taskq.timing.delays import AT_ONCE, when
from taskq.timing.shards import Write
from taskq.timing.timers import read_due
from taskq_kafka.records import Record
from tests.support.clock import START
from tests.support.fake_broker import FakeBroker, isolated_app

LISBON = timezone(timedelta(hours=1))
NAIVE = START.replace(tzinfo=None)


def invoice_app() -> tuple[Any, FakeBroker]:
    app, broker = isolated_app(default_queue="main")

    @app.task("invoice")
    def invoice(customer: str) -> None: ...

    return invoice, broker


def test_a_countdown_counts_from_now() -> None:
    found = when("t", START, countdown=1.5)

    assert found.eta == START + timedelta(seconds=1.5)


def test_an_eta_is_kept_in_utc() -> None:
    found = when("t", START, eta=datetime(2030, 1, 1, 12, tzinfo=LISBON))

    assert found.headers == {"eta": "2030-01-01T11:00:00+00:00"}


@pytest.mark.parametrize("expires", [60, 60.0, START + timedelta(seconds=60)])
def test_expires_is_seconds_from_now_or_an_instant(expires: Any) -> None:
    found = when("t", START, expires=expires)

    assert (found.eta, found.expires) == (None, START + timedelta(seconds=60))


def test_a_countdown_of_nothing_is_at_once() -> None:
    assert when("t", START, countdown=0) == AT_ONCE


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"countdown": -1}, "0 or more"),
        ({"countdown": math.nan}, "0 or more"),
        ({"countdown": math.inf}, "0 or more"),
        ({"countdown": True}, "must be seconds"),
        ({"countdown": "3"}, "must be seconds"),
        ({"countdown": 1e12}, "beyond the year 9999"),
        ({"countdown": 10**400}, "beyond the year 9999"),
        ({"eta": NAIVE}, "has no time zone"),
        ({"eta": "2030-01-01"}, "must be a datetime"),
        ({"eta": 5}, "must be a datetime"),
        ({"eta": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))}, "beyond"),
        ({"expires": -1}, "0 or more"),
        ({"expires": NAIVE}, "has no time zone"),
        ({"expires": "soon"}, "seconds, or a datetime"),
        ({"countdown": 1, "eta": START}, "give one of them"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidArguments, match=words):
        when("t", START, **options)


@pytest.mark.parametrize("how", ["apply_async", "options", "send_task"])
def test_a_task_that_is_to_wait_is_written_to_the_timers(how: str) -> None:
    invoice, broker = invoice_app()

    if how == "apply_async":
        result = invoice.apply_async(("ACME",), countdown=60, key="k")
    elif how == "options":
        result = invoice.options(countdown=60, key="k").delay("ACME")
    else:
        result = invoice._app.send_task("invoice", ("ACME",), countdown=60, key="k")

    (write,) = broker.kept
    assert broker.sent == []
    assert (write.log, write.queue, write.route) == ("taskq.timers", "main", result.id.encode())
    assert read_due(write.headers) == (START.timestamp() + 60) * 1000
    assert ("timer-key", b"k") in write.headers


def test_the_message_of_a_waiting_task_has_its_eta() -> None:
    invoice, broker = invoice_app()

    invoice.apply_async(("ACME",), countdown=60, expires=90)

    headers = dict(broker.kept[0].headers)
    assert headers["eta"] == (START + timedelta(seconds=60)).isoformat().encode()
    assert headers["expires"] == (START + timedelta(seconds=90)).isoformat().encode()


def test_an_eta_that_has_passed_is_sent_at_once() -> None:
    invoice, broker = invoice_app()

    invoice.apply_async(("ACME",), eta=START - timedelta(days=1))

    (message,) = broker.sent
    envelope = read_headers(Record("main", 0, 0, 0, None, message.value, message.headers))
    assert (broker.kept, envelope.eta) == ([], START - timedelta(days=1))


def test_due_times_are_rounded_up_to_milliseconds() -> None:
    message = Outgoing("main", b"", [])
    found = when("t", START, eta=START + timedelta(microseconds=1))

    write = found.outgoing(message, "id", START)

    assert isinstance(write, Write)
    assert read_due(write.headers) == START.timestamp() * 1000 + 1


def test_many_calls_wait_as_one() -> None:
    invoice, broker = invoice_app()

    results = invoice.options(countdown=1).delay_many([("ACME",), ("Globex",)])

    assert [write.route.decode() for write in broker.kept] == [result.id for result in results]
    assert len({write.key for write in broker.kept}) == 2


def test_a_wrong_delay_sends_nothing() -> None:
    invoice, broker = invoice_app()

    with pytest.raises(InvalidArguments):
        invoice.apply_async(("ACME",), countdown=-1)

    assert (broker.sent, broker.kept) == ([], [])
