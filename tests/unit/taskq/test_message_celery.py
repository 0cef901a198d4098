"""The wire format against Celery's own code, in both directions."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, chain, chord, group, signature
from celery.app.trace import build_tracer
from celery.worker import strategy
from celery.worker.request import Request
from kombu import serialization
from kombu.transport.virtual import Message

from taskq.attempts import Attempt
from taskq.errors import DecodeError
from taskq.message import Envelope, encode, read_body, read_headers
from taskq.running.limits import TimeLimits, limits_of
from taskq.running.returning import retried
from taskq.timing.shards import Write
from taskq.timing.timers import message_of
from taskq_kafka.records import Record, payload_to_record, record_to_payload

ID = "0193-some-id"


@pytest.fixture(scope="module")
def celery() -> Celery:
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_default_queue = "billing"

    @app.task(name="add")  # type: ignore[untyped-decorator]
    def add(x: Any, y: Any = 0) -> Any:
        return [x, y]

    app.finalize()
    return app


def record_of_celery(app: Celery, *args: Any, **options: Any) -> Record:
    """Return the record that our transport writes for what Celery's own code makes of a call."""
    message = app.amqp.as_task_v2(ID, "add", *args, **options)
    content_type, encoding, body = serialization.dumps(message.body, serializer="json")
    payload = {
        "body": body,
        "content-type": content_type,
        "content-encoding": encoding,
        "headers": message.headers,
        "properties": {
            **message.properties,
            "delivery_mode": 2,
            "priority": 0,
            "delivery_info": {"exchange": "", "routing_key": "billing"},
        },
    }
    key, value, headers = payload_to_record(payload, "billing")
    return Record("billing", 3, 17, 1_700_000_000_000, key, value, headers)


def read(record: Record) -> tuple[Envelope, Any]:
    envelope = read_headers(record)
    return envelope, read_body(envelope, record.value)


def message_for_celery(record: Record) -> Any:
    """Return the message that kombu's virtual layer hands to Celery for a record of ours."""
    payload = record_to_payload(record)
    channel = SimpleNamespace(decode_body=lambda body, encoding=None: body, no_ack_consumers=())
    return Message(payload=payload, channel=channel)


def our_record(*args: Any, **kwargs: Any) -> Record:
    value, headers = encode("add", ID, args, kwargs)
    return Record("billing", 0, 0, -1, None, value, headers)


def test_a_call_written_by_celery_is_read(celery: Celery) -> None:
    record = record_of_celery(celery, (1,), {"y": 2})

    envelope, body = read(record)

    assert (envelope.task, envelope.id) == ("add", ID)
    assert body == ([1], {"y": 2}, None)
    assert envelope.retries == 0
    assert envelope.headers["timelimit"] == [None, None]


def test_time_limits_of_a_celery_call_stand_before_the_tasks(celery: Celery) -> None:
    record = record_of_celery(celery, (1,), time_limit=30, soft_time_limit=25.5)

    envelope, _ = read(record)

    limits = limits_of(TimeLimits(600, None), envelope.headers["timelimit"])
    assert limits == TimeLimits(30, 25.5)


def test_values_of_celery_keep_their_types(celery: Celery) -> None:
    values = [
        datetime(2026, 11, 23, 17, tzinfo=timezone.utc),
        date(2026, 11, 23),
        UUID(int=7),
        Decimal("1.50"),
        b"bytes",
        b"\xff",
    ]

    _, (args, _, _) = read(record_of_celery(celery, (values,)))

    assert args == [values]


def test_values_are_written_as_kombu_writes_them(celery: Celery) -> None:
    values = (
        datetime(2026, 1, 2, 3, 4, 5, 678, timezone.utc),
        date(2026, 1, 2),
        UUID(int=9),
        Decimal("3"),
        "é",
    )

    record = our_record(*values, more={"deep": [Decimal("1")]})

    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = (values, {"more": {"deep": [Decimal("1")]}}, embed)
    assert record.value == serialization.dumps(body, serializer="json")[2].encode()


def test_retries_and_expires_of_celery_are_read(celery: Celery) -> None:
    expires = datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2)))

    envelope, _ = read(record_of_celery(celery, (1,), retries=3, expires=expires))

    assert envelope.retries == 3
    assert envelope.expires == expires
    assert envelope.eta is None


def test_a_countdown_of_celery_is_early_until_it_is_over(celery: Celery) -> None:
    now = datetime.now(timezone.utc)  # noqa: TID251 - Celery counts from the system's clock

    envelope = read_headers(record_of_celery(celery, (1,), countdown=60))

    assert envelope.is_early(now + timedelta(seconds=50))
    assert not envelope.is_early(now + timedelta(seconds=120))


def test_an_eta_that_has_passed_is_run(celery: Celery) -> None:
    eta = datetime(2020, 1, 1, tzinfo=timezone.utc)

    assert read_headers(record_of_celery(celery, (1,), eta=eta)).eta == eta


def test_a_part_of_a_chord_is_refused(celery: Celery) -> None:
    body = signature("add", app=celery)
    record = record_of_celery(celery, (1,), chord=json.loads(json.dumps(body)))

    with pytest.raises(DecodeError) as caught:
        read(record)

    assert caught.value.reason == "unsupported"


def test_callbacks_and_chain_of_celery_are_accepted(celery: Celery) -> None:
    add = celery.tasks["add"]
    record = record_of_celery(
        celery,
        (1,),
        callbacks=[add.s(1)],
        errbacks=[add.si(2)],
        chain=[add.s(3), chain(add.s(4), add.s(5)), group(add.s(6))][:1],
    )

    _, (_, _, embed) = read(record)

    assert embed is not None
    assert [step["task"] for step in embed["chain"]] == ["add"]


def test_a_chord_as_callback_is_refused(celery: Celery) -> None:
    add = celery.tasks["add"]
    callback = chord([add.s(1), add.s(2)], add.s(3))
    record = record_of_celery(celery, (1,), callbacks=[json.loads(json.dumps(callback))])

    with pytest.raises(DecodeError) as caught:
        read(record)

    assert caught.value.reason == "unsupported"


def test_our_message_becomes_a_request_of_celery(celery: Celery) -> None:
    message = message_for_celery(our_record(1, y=2))

    request = Request(message, app=celery, task=celery.tasks["add"], hostname="here")

    assert (request.id, request.name) == (ID, "add")
    assert (request.args, request.kwargs) == ([1], {"y": 2})
    assert request.time_limits == (None, None)


def test_a_retry_of_ours_becomes_a_request_of_celery(celery: Celery) -> None:
    record = record_of_celery(
        celery, (1,), retries=2, expires=datetime(2099, 1, 1, tzinfo=timezone.utc)
    )
    attempt = Attempt("2026-11-23T17:00:00.000Z", "OSError: away", "w1")
    written = retried(record, read_headers(record), due_ms=1_795_453_200_000, attempt=attempt)
    assert isinstance(written, Write)
    sent = message_of(written)
    assert sent is not None

    message = message_for_celery(Record("billing", 0, 0, 0, sent.key, sent.value, sent.headers))
    request = Request(message, app=celery, task=celery.tasks["add"], hostname="here")

    assert (request.id, request.name) == (ID, "add")
    assert request.request_dict["retries"] == 3
    assert request.request_dict["eta"] == "2026-11-23T17:00:00+00:00"
    assert request.expires.year == 2099
    assert request.request_dict["root_id"] == ID


def test_our_message_passes_celerys_strategy(celery: Celery) -> None:
    message = message_for_celery(our_record(1, y=2))
    received: list[Any] = []
    consumer = SimpleNamespace(
        hostname="here",
        connection_errors=(),
        event_dispatcher=None,
        timer=SimpleNamespace(call_at=None),
        apply_eta_task=None,
        disable_rate_limits=True,
        task_buckets={},
        on_task_request=received.append,
        _limit_task=None,
        _limit_post_eta=None,
        pool=SimpleNamespace(apply_async=None),
        controller=SimpleNamespace(state=SimpleNamespace(revoked=set())),
        qos=None,
    )
    handle = strategy.default(celery.tasks["add"], celery, consumer)

    handle(message, None, lambda: None, lambda requeue: None, [])

    assert [request.id for request in received] == [ID]


def test_our_message_is_run_by_celerys_tracer(celery: Celery) -> None:
    task = celery.tasks["add"]
    message = message_for_celery(our_record(1, y=2))
    request = Request(message, app=celery, task=task, hostname="here")

    tracer = build_tracer("add", task, app=celery)
    result = tracer(request.id, request.args, request.kwargs, request.request_dict)

    assert result.retval == [1, 2]
    assert result.info is None
