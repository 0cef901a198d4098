from __future__ import annotations

import asyncio
import json
import pickle
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from types import ModuleType
from typing import Any

import pytest

import taskq
from taskq.errors import (
    EncodeError,
    InvalidArguments,
    InvalidQueueName,
    InvalidSchedule,
    PublishFailed,
    UnknownOption,
)
from taskq.message import read_body, read_headers
from taskq.protocols import Outgoing
from taskq.request import enter, leave
from taskq.scheduling.entryvalues import CatchUp
from taskq.task import Task
from taskq_kafka.records import Record
from tests.support.fake_broker import FakeBroker, isolated_app

app, _ = isolated_app(default_queue="main")


@app.task
def pickled() -> None: ...


def invoice_app() -> tuple[Task[..., Any, int], FakeBroker]:
    app, broker = isolated_app(default_queue="main")

    @app.task("invoice", queue="billing")
    def invoice(customer: str, amount: int = 1) -> int:
        return amount

    return invoice, broker


def read(message: Outgoing) -> Any:
    record = Record(message.queue, 0, 0, -1, message.key, message.value, message.headers)
    envelope = read_headers(record)
    return envelope, read_body(envelope, message.value)


def test_a_plain_call_runs_here_and_now() -> None:
    invoice, broker = invoice_app()

    assert invoice("ACME", 3) == 3
    assert broker.sent == []


def test_delay_sends_the_call_and_returns_its_result() -> None:
    invoice, broker = invoice_app()

    result = invoice.delay("ACME", amount=3)

    [message] = broker.sent
    envelope, body = read(message)
    assert (message.queue, message.key) == ("billing", None)
    assert (envelope.task, envelope.id) == ("invoice", result.id)
    assert body == (["ACME"], {"amount": 3}, None)
    assert (result.task, result.queue) == ("invoice", "billing")


def test_apply_async_takes_options() -> None:
    invoice, broker = invoice_app()

    result = invoice.apply_async(
        ("ACME",), {"amount": 3}, task_id="mine", queue="other", key="ACME", headers={"tenant": 7}
    )

    envelope, body = read(broker.sent[0])
    assert (result.id, result.queue, broker.sent[0].key) == ("mine", "other", b"ACME")
    assert envelope.headers["tenant"] == 7
    assert body == (["ACME"], {"amount": 3}, None)


def test_options_can_be_given_before_the_arguments() -> None:
    invoice, broker = invoice_app()

    invoice.options(queue="other", key="k").delay("ACME")

    assert (broker.sent[0].queue, broker.sent[0].key) == ("other", b"k")


def test_many_calls_are_one_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    invoice, broker = invoice_app()
    publishes: list[int] = []
    publish = broker.publisher.publish

    def counted(messages: Sequence[Outgoing], *, timeout: float) -> Sequence[Exception | None]:
        publishes.append(len(messages))
        return publish(messages, timeout=timeout)

    monkeypatch.setattr(broker.publisher, "publish", counted)

    results = invoice.delay_many([("ACME", 3), ["Globex"]])

    assert publishes == [2]
    assert [result.id for result in results] == [read(message)[0].id for message in broker.sent]


def test_no_calls_are_no_publish() -> None:
    invoice, broker = invoice_app()

    assert invoice.delay_many([]) == []
    assert broker.sent == []


def test_many_calls_with_one_that_does_not_fit_send_nothing() -> None:
    invoice, broker = invoice_app()

    with pytest.raises(InvalidArguments):
        invoice.delay_many([("ACME", 3), ()])
    with pytest.raises(InvalidArguments):
        invoice.delay_many(["ACME"])

    assert broker.sent == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"args": "ab"}, "a tuple of one needs a comma"),
        ({"args": 5}, "args must be a tuple or list, not int"),
        ({"args": ("a",), "kwargs": [1]}, "kwargs must be a dict, not list"),
        ({"kwargs": {1: 2}}, "names of keyword arguments are text, not 1"),
        ({"args": ("a", 1), "headers": "x"}, "headers must be a dict, not str"),
        ({"args": ("a", 1), "headers": {1: 2}}, "names of headers are text, not 1"),
    ],
)
def test_what_is_no_call_at_all_is_refused_at_the_caller(options: Any, why: str) -> None:
    invoice, broker = invoice_app()

    with pytest.raises(InvalidArguments, match=why):
        invoice.apply_async(**options)

    assert broker.sent == []


def test_key_that_is_no_text_is_refused_at_the_caller() -> None:
    invoice, broker = invoice_app()

    with pytest.raises(InvalidArguments, match="UTF-8"):
        invoice.options(key="\udcff").delay("ACME", 3)

    assert broker.sent == []


def test_one_task_id_cannot_name_many() -> None:
    invoice, _ = invoice_app()

    with pytest.raises(InvalidArguments):
        invoice.options(task_id="x").delay_many([("ACME",)])


def test_many_calls_tell_which_were_not_acknowledged() -> None:
    invoice, broker = invoice_app()
    broker.publisher.fails = lambda message: (
        TimeoutError("no answer") if b"Globex" in message.value else None
    )

    with pytest.raises(PublishFailed) as caught:
        invoice.delay_many([("ACME",), ("Globex",), ("Initech",)])

    error = caught.value
    assert (len(error.sent), len(error.failed), error.failed_positions) == (2, 1, (1,))
    assert (error.task_id, error.queue) == (error.failed[0].id, "billing")
    assert error.maybe_sent


def test_a_failure_that_is_certain_says_so() -> None:
    invoice, broker = invoice_app()
    refused = ValueError("too large")
    refused.sent = False  # type: ignore[attr-defined]  # the Protocol of publishers
    broker.publisher.fails = lambda message: refused

    with pytest.raises(PublishFailed) as caught:
        invoice.delay("ACME")

    assert not caught.value.maybe_sent
    assert caught.value.__cause__ is refused


def test_adelay_sends_without_blocking_the_loop() -> None:
    invoice, broker = invoice_app()

    result = asyncio.run(invoice.adelay("ACME"))
    other = asyncio.run(invoice.options(queue="other").adelay("ACME"))

    assert [read(message)[0].id for message in broker.sent] == [result.id, other.id]


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a", 1, 2), {}), (("a",), {"spam": 1})])
def test_arguments_that_do_not_fit_fail_at_the_caller(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    invoice, broker = invoice_app()

    with pytest.raises(TypeError) as caught:
        invoice.delay(*args, **kwargs)

    assert isinstance(caught.value, InvalidArguments)
    assert broker.sent == []


def test_arguments_that_cannot_be_written_fail_at_the_caller() -> None:
    invoice, broker = invoice_app()

    with pytest.raises(EncodeError):
        invoice.delay("ACME", object())

    assert broker.sent == []


@pytest.mark.parametrize("method", ["apply_async", "options"])
def test_options_that_do_not_exist_are_refused(method: str) -> None:
    invoice, _ = invoice_app()

    with pytest.raises(UnknownOption):
        getattr(invoice, method)(link=3)


def test_options_of_the_decorator_that_do_not_exist_are_refused() -> None:
    app, _ = isolated_app()

    with pytest.raises(UnknownOption) as caught:
        app.task("t", alias=("x",))  # type: ignore[call-overload]  # that is what is tested

    assert caught.value.near == "aliases"


def test_a_bad_queue_fails_where_the_task_is_made() -> None:
    app, _ = isolated_app()

    with pytest.raises(InvalidQueueName):
        app.task("t", queue="a b")(lambda: None)


@pytest.mark.parametrize("name", ["", "a\nb"])
def test_a_bad_name_fails_where_the_task_is_made(name: str) -> None:
    app, _ = isolated_app()

    with pytest.raises(InvalidArguments):
        app.task(name)(lambda: None)


def test_a_bare_task_is_named_after_module_and_function() -> None:
    assert pickled.name == f"{__name__}.pickled"
    assert pickled.queue == "main"


def test_a_task_of_the_main_module_has_the_name_a_worker_will_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main = ModuleType("__main__")
    main.__file__ = "/somewhere/billing.py"
    main.__spec__ = None
    monkeypatch.setitem(sys.modules, "__main__", main)
    app, _ = isolated_app()

    def pay() -> None: ...

    pay.__module__ = "__main__"

    assert app.task(pay).name == "billing.pay"


def test_a_bound_task_gets_the_current_request() -> None:
    app, broker = isolated_app()

    @app.task("t", bind=True)
    def bound(self: taskq.Context, number: int) -> tuple[str, int]:
        return self.request.id, number

    called = bound(3)
    token = enter(bound._direct_request())
    current = taskq.current_request()
    run = bound.run(4)
    leave(token)
    bound.delay(5)

    assert called[1] == 3
    assert current is not None
    assert run == (current.id, 4)
    assert read(broker.sent[0])[1] == ([5], {}, None)


def test_a_coroutine_function_is_known_as_one() -> None:
    app, broker = isolated_app()

    @app.task
    async def fetch(url: str) -> int:
        return len(url)

    assert fetch.is_async
    assert asyncio.run(fetch("abc")) == 3
    fetch.delay("abc")
    assert json.loads(broker.sent[0].value)[0] == ["abc"]


def test_a_task_is_pickled_by_reference() -> None:
    assert pickle.loads(pickle.dumps(pickled)) is pickled  # noqa: S301  # our own bytes


def test_a_task_keeps_its_functions_name_and_docstring() -> None:
    app, _ = isolated_app()

    @app.task("t")
    def documented() -> None:
        """Say so."""

    assert (vars(documented)["__name__"], documented.__doc__) == ("documented", "Say so.")
    assert documented.place.startswith(__file__)


def test_results_are_equal_by_id() -> None:
    invoice, _ = invoice_app()

    first, second = invoice.delay("a"), invoice.delay("a")

    assert first != second
    assert str(first) == first.id
    assert len({first, second, taskq.AsyncResult(first.id, "x", "y")}) == 2


class TestCron:
    def test_a_task_with_a_cron_has_a_schedule_under_its_name(self) -> None:
        app, _ = isolated_app()

        @app.task(
            "report", queue="q", cron="0 5 * * *", timezone="Europe/Lisbon", kwargs={"region": "s"}
        )
        def report(region: str) -> None: ...

        entry = report.schedule
        assert entry is not None
        assert (entry.id, entry.task, entry.queue) == ("report", "report", "q")
        assert (entry.cron.expression, entry.cron.timezone) == ("0 5 * * *", "Europe/Lisbon")
        assert (entry.args, entry.kwargs) == ((), {"region": "s"})
        assert entry.catch_up is CatchUp.LAST

    def test_a_task_without_one_has_none(self) -> None:
        assert invoice_app()[0].schedule is None

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            ({"cron": "0 0 * * 7"}, "Sunday is 0"),
            ({"cron": "0 5 * * *", "dialect": "quartz"}, "dialect"),
            ({"cron": "0 5 * * *", "timezone": "Mars/Base"}, "timezone"),
            ({"cron": "CRON_TZ=UTC 0 5 * * *", "timezone": "UTC"}, "given twice"),
            ({"cron": "0 5 * * *", "name": "a/b"}, "must not hold '/'"),
            ({"cron": 5}, "must be text"),
        ],
    )
    def test_a_wrong_one_fails_where_the_task_is_made(
        self, options: dict[str, Any], why: str
    ) -> None:
        app, _ = isolated_app()

        with pytest.raises(InvalidSchedule, match=why):
            app.task(**{"name": "t", **options})(lambda: None)

        assert len(app.registry) == 0

    @pytest.mark.parametrize(
        "options", [{}, {"args": [1, 2, 3]}, {"kwargs": {"region": 1, "x": 2}}]
    )
    def test_arguments_that_do_not_fit_fail_where_the_task_is_made(
        self, options: dict[str, Any]
    ) -> None:
        app, _ = isolated_app()

        with pytest.raises(InvalidArguments, match="'t'"):
            app.task("t", cron="@daily", **options)(lambda region: None)

    def test_what_belongs_to_a_cron_is_refused_without_one(self) -> None:
        app, _ = isolated_app()

        with pytest.raises(InvalidArguments, match="timezone without cron"):
            app.task("t", timezone="UTC")(lambda: None)


def test_a_task_is_settled_before_its_run_unless_it_says_otherwise() -> None:
    app, _ = isolated_app()

    early, late = app.task("early")(fail_softly), app.task("late", acks_late=True)(fail_softly)

    assert (early.acks_late, late.acks_late, late.max_deliveries) == (False, True, 5)


@pytest.mark.parametrize("limit", [0, -1, "3", 2.5, True])
def test_a_limit_of_deliveries_that_is_no_positive_number_is_refused(limit: object) -> None:
    app, _ = isolated_app()
    options: dict[str, Any] = {"acks_late": True, "max_deliveries": limit}

    with pytest.raises(InvalidArguments, match="a whole number from 1 on"):
        app.task("late", **options)(fail_softly)


def test_a_limit_of_deliveries_needs_late_acks() -> None:
    app, _ = isolated_app()

    with pytest.raises(InvalidArguments, match="needs acks_late=True"):
        app.task("early", max_deliveries=3)(fail_softly)


def fail_softly() -> None: ...


@pytest.mark.parametrize("option", ["acks_late", "bind", "dead_letter", "retry_jitter"])
@pytest.mark.parametrize("value", ["no", "x", 1, 0, None])
def test_a_flag_is_true_or_false(option: str, value: Any) -> None:
    app, _ = isolated_app()
    options: dict[str, Any] = {option: value}

    with pytest.raises(InvalidArguments, match=f"{option} is True or False, not {value!r}"):
        app.task("t", **options)(lambda *_: None)


@pytest.mark.parametrize(
    "options",
    [
        {"priority": 11},
        {"countdown": -5},
        {"expires": -1},
        {"eta": "tomorrow"},
        {"key": ""},
        {"task_id": 7},
        {"countdown": 1, "eta": datetime(2027, 1, 1, tzinfo=timezone.utc)},
    ],
)
def test_options_that_cannot_be_are_refused_when_they_are_made(options: dict[str, Any]) -> None:
    app, _ = isolated_app()
    task = app.task("t")(lambda: None)

    with pytest.raises(InvalidArguments, match=next(iter(options))):
        task.options(**options)
