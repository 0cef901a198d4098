from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any, cast

import pytest

import taskq
from taskq.app import App
from taskq.errors import (
    BrokerUnreachable,
    InvalidArguments,
    InvalidQueueName,
    InvalidSetting,
    PublishFailed,
    UnknownOption,
    UnknownSetting,
    UsageError,
)
from taskq.message import read_body, read_headers
from taskq.protocols import Outgoing
from taskq.sending.canvas import Followup
from taskq.sources import Sources
from taskq_kafka.records import Record
from tests.support.fake_broker import FakeBroker, attach, isolated_app


def read(message: Outgoing) -> Any:
    record = Record(message.queue, 0, 0, -1, message.key, message.value, message.headers)
    envelope = read_headers(record)
    return envelope, read_body(envelope, message.value)


def test_settings_are_checked_where_they_are_given() -> None:
    with pytest.raises(UnknownSetting):
        App(brokr="x")
    with pytest.raises(InvalidSetting):
        App().configure(concurrency=0)


def test_settings_are_read_when_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(group="code", prefix="code")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taskq.toml").write_text('group = "file"')

    assert (app.settings.group, app.settings.prefix) == ("file", "code")
    assert app.settings.source("prefix") == "code"


def test_adopted_sources_stand_over_the_code() -> None:
    app = App(group="code")

    app.adopt(Sources().with_flags({"group": "flag"}))

    assert app.settings.group == "flag"


def test_configure_comes_too_late_after_the_first_send() -> None:
    app, _ = isolated_app()

    with pytest.raises(UsageError):
        app.configure(group="x")


def test_the_prefix_counts_towards_the_default_queues_length() -> None:
    app = App(prefix="p" * 100, default_queue="q" * 150)
    app.adopt(Sources())

    with pytest.raises(InvalidQueueName):
        _ = app.settings


def test_a_task_that_is_not_registered_goes_to_the_default_queue() -> None:
    app, broker = isolated_app(default_queue="main")

    result = app.send_task("anywhere", (1,), {"a": 2})

    envelope, body = read(broker.sent[0])
    assert (result.queue, broker.sent[0].queue) == ("main", "main")
    assert (envelope.task, envelope.id, body) == ("anywhere", result.id, ([1], {"a": 2}, None))


def test_a_registered_task_has_its_queue_and_its_arguments_checked() -> None:
    app, broker = isolated_app()

    @app.task("invoice", queue="billing", aliases=("old",))
    def invoice(amount: int) -> None: ...

    app.send_task("old", (1,), key="k")
    with pytest.raises(InvalidArguments):
        app.send_task("invoice")

    [message] = broker.sent
    assert (message.queue, message.key, read(message)[0].task) == ("billing", b"k", "old")


def test_options_of_send_task_that_do_not_exist_are_refused() -> None:
    app, _ = isolated_app()

    with pytest.raises(UnknownOption):
        app.send_task("t", link=3)  # type: ignore[arg-type]  # that is what is tested


def test_what_follows_a_run_is_written_with_its_options() -> None:
    app, _ = isolated_app(default_queue="main")
    after = {"callbacks": [{"task": "next"}]}
    followup = Followup("t", (1,), {"a": 2}, "mine", None, {"root_id": "r"}, after)

    message = app.outgoing(followup)

    envelope, (args, kwargs, embed) = read(message)
    assert (message.queue, envelope.id, envelope.headers["root_id"]) == ("main", "mine", "r")
    assert (args, kwargs, embed["callbacks"]) == ([1], {"a": 2}, [{"task": "next"}])


def test_a_hook_is_a_middleware_with_one_method() -> None:
    app, _ = isolated_app()
    called: list[str] = []

    @app.on("worker_ready")
    def ready() -> None:
        called.append("ready")

    [middleware] = app.middleware
    middleware.worker_ready()  # type: ignore[attr-defined]  # hooks are found by name

    assert called == ["ready"]


def test_a_hook_that_nobody_would_await_is_refused() -> None:
    async def connect() -> None: ...

    with pytest.raises(UsageError, match="connect is an async def"):
        App("x").on("worker_process_init")(connect)


def test_a_hook_that_does_not_exist_is_refused() -> None:
    app, _ = isolated_app()

    with pytest.raises(UnknownOption) as caught:
        app.on("worker_redy")

    assert caught.value.near == "worker_ready"


def test_a_forked_child_gets_a_broker_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    app, broker = isolated_app()
    child = FakeBroker()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    attach(app, child)

    app.send_task("t")

    assert (len(broker.sent), len(child.sent)) == (0, 1)


def test_closing_lets_a_later_send_connect_anew() -> None:
    app, broker = isolated_app()

    app.close()

    assert broker.is_closed
    assert cast(Any, app.broker) is not broker


def test_a_broker_that_cannot_be_reached_fails_the_publish() -> None:
    app, broker = isolated_app()
    broker.publisher.fails = lambda message: ConnectionRefusedError("nobody")

    with pytest.raises(PublishFailed):
        app.send_task("t")


def test_the_default_app_stands_behind_the_functions_of_the_package() -> None:
    assert taskq.task.__self__ is taskq.default_app  # type: ignore[attr-defined]  # bound methods
    assert taskq.send_task.__self__ is taskq.default_app  # type: ignore[attr-defined]


def test_revoking_tells_the_workers_before_it_cancels_the_timer() -> None:
    app, broker = isolated_app()

    app.revoke("x", "ns/1@2026-11-23T17:00:00Z")

    assert [(each.log, each.key) for each in broker.logs.written] == [
        ("taskq.revoked", b"x"),
        ("taskq.revoked", b"ns/1@2026-11-23T17:00:00Z"),
        ("taskq.timers", b"x/cancel"),
        ("taskq.timers", b"ns/1@2026-11-23T17:00:00Z/cancel"),
    ]


def test_revoking_nothing_asks_no_broker() -> None:
    app, broker = isolated_app()
    broker.logs.append_error = ConnectionError("away")

    app.revoke()


def test_a_revocation_that_is_not_acknowledged_raises() -> None:
    app, broker = isolated_app()
    broker.logs.append_error = ConnectionError("away")

    with pytest.raises(BrokerUnreachable):
        app.revoke("x")


def test_a_result_revokes_its_task() -> None:
    app, broker = isolated_app()

    app.send_task("t").revoke()

    assert {each.log for each in broker.logs.written} == {"taskq.revoked", "taskq.timers"}


@pytest.mark.parametrize("terminate", [False, True])
def test_revoking_says_whether_a_run_is_to_be_ended(terminate: bool) -> None:
    app, broker = isolated_app()

    app.send_task("t").revoke(terminate=terminate)

    revoked, _ = broker.logs.written
    assert json.loads(revoked.value or b"")["terminate"] is terminate


def test_a_result_from_elsewhere_says_how_to_revoke_it() -> None:
    app, _ = isolated_app()
    result = copy.copy(app.send_task("t", task_id="x"))  # as pickle does

    assert result.id == "x"
    with pytest.raises(UsageError, match=r"revoke\('x'\)"):
        result.revoke()
