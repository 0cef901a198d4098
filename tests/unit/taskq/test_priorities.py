"""A priority from where it is given to the record that is written."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from taskq import App
from taskq.errors import InvalidArguments, TaskqError
from taskq.letters.deadletters import read_dead_letter
from taskq.letters.redrive import Chosen, Order
from taskq.message import JSON, read_headers
from taskq.protocols import Outgoing, StoredDeadLetter
from taskq.scheduling.duemessages import message_of
from taskq.scheduling.occurrences import Definition, Occurrence
from taskq.scheduling.schedule import read_entries
from taskq.sending.canvas import Followup
from taskq.sources import Sources
from taskq.testing import on_memory
from taskq.timing.timers import message_of as waiting_message_of
from taskq_kafka.records import Record, decode_headers
from tests.support.fake_broker import FakeBroker, isolated_app

NOW = datetime(2026, 11, 26, 9, tzinfo=timezone.utc)


def priority_of(message: Outgoing) -> object:
    return decode_headers(message.headers)[1].get("priority")


def mails() -> tuple[App, FakeBroker, Any]:
    app, broker = isolated_app()

    @app.task("mail", queue="mails", priority=4)
    def mail(to: str) -> None: ...

    return app, broker, mail


def test_a_task_is_sent_with_its_own_priority() -> None:
    _, broker, mail = mails()

    result = mail.delay("a")

    [message] = broker.sent
    assert (message.queue, priority_of(message)) == ("mails.p3", 4)
    assert result.queue == "mails"


def test_what_a_call_says_stands_before_what_its_task_says() -> None:
    app, broker, mail = mails()

    mail.options(priority=9).delay("a")
    mail.apply_async(("a",), priority=0)
    app.send_task("mail", ("a",), priority=7)
    mail.options(priority=6).delay_many([("a",), ("b",)])

    assert [message.queue for message in broker.sent] == [
        "mails.p9",
        "mails",
        "mails.p6",
        "mails.p6",
        "mails.p6",
    ]
    assert [priority_of(message) for message in broker.sent] == [9, None, 7, 6, 6]


def test_a_task_that_is_sent_by_its_name_has_its_own_priority_and_another_none() -> None:
    app, broker, _ = mails()

    app.send_task("mail", ("a",))
    app.send_task("other", queue="mails")

    assert [message.queue for message in broker.sent] == ["mails.p3", "mails"]


def test_the_header_does_not_hide_others_types() -> None:
    _, broker, mail = mails()

    mail.options(headers={"number": 3}, expires=60).delay("a")

    [message] = broker.sent
    headers, properties = decode_headers(message.headers)
    assert (headers["number"], properties["priority"]) == (3, 4)
    record = Record(message.queue, 0, 0, 0, None, message.value, message.headers)
    assert read_headers(record).expires is not None


def test_a_task_that_waits_goes_to_its_step_afterwards() -> None:
    _, broker, mail = mails()

    mail.options(countdown=60).delay("a")

    [write] = broker.kept
    message = waiting_message_of(write)
    assert message is not None
    assert (write.queue, message.queue) == ("mails.p3", "mails.p3")


@pytest.mark.parametrize("priority", [10, 11, -1, True, "high", 4.5])
def test_anything_else_is_refused(priority: Any) -> None:
    app, broker, mail = mails()

    for send in (
        lambda: mail.options(priority=priority).delay("a"),
        lambda: mail.apply_async(("a",), priority=priority),
        lambda: app.send_task("mail", ("a",), priority=priority),
        lambda: app.task("bad", priority=priority)(lambda: None),
    ):
        with pytest.raises(InvalidArguments, match="a whole number from 0 to 9, 9 first, not"):
            send()
    assert broker.sent == []


def test_what_follows_a_celery_task_has_the_priority_of_its_signature_or_its_task() -> None:
    app, _, _ = mails()

    named = app.outgoing(Followup("mail", ("a",), {}, priority=8))
    own = app.outgoing(Followup("mail", ("a",), {}))

    assert (named.queue, own.queue) == ("mails.p6", "mails.p3")


def test_an_occurrence_has_the_priority_of_its_entry_or_its_task() -> None:
    document = {"id": "x", "cron": "0 5 * * *", "task": "mail", "queue": "mails"}
    [without], _ = read_entries([document])
    [with_one], _ = read_entries([{**document, "priority": 9}])
    [zero], _ = read_entries([{**document, "priority": 0}])

    sent = [
        message_of(_occurrence(Definition(entry, "jobs", NOW, "file")), "taskq", JSON, priority=5)
        for entry in (without, with_one, zero)
    ]

    assert [message.queue for message in sent] == ["mails.p3", "mails.p9", "mails"]


def _occurrence(definition: Definition) -> Occurrence:
    return Occurrence(definition, NOW, NOW)


def test_a_schedule_in_code_has_its_tasks_priority() -> None:
    app, _ = isolated_app()

    @app.task("tick", cron="0 5 * * *", priority=6)
    def tick() -> None: ...

    assert tick.schedule is not None
    assert tick.schedule.priority == 6


@pytest.mark.parametrize(
    ("to", "source"), [("mails", "mails.p9"), ("later", "later.p9")], ids=["back", "elsewhere"]
)
def test_a_dead_letter_goes_back_to_its_step(to: str, source: str) -> None:
    letter = StoredDeadLetter("mails.p9/3/17", "mails", b"[]", (("task", b"mail"),), 1_000, 5)
    chosen = Chosen(letter, read_dead_letter(letter))

    removal = chosen.removal(Order("me@here", NOW, "", to=to))

    assert removal.record is not None
    assert removal.record.queue == source


def _app() -> App:
    app = App("shop")
    app.adopt(Sources())
    return app


def test_tests_run_the_highest_step_first_and_look_for_higher_ones_after_each_task() -> None:
    app = _app()
    ran: list[str] = []

    @app.task("work")
    def work(name: str) -> None:
        ran.append(name)
        if name == "low 1":
            work.options(priority=9).delay("urgent")

    with on_memory(app) as testing:
        for name in ("low 1", "low 2"):
            work.delay(name)
        for priority, name in ((3, "mid"), (9, "high"), (8, "less high")):
            work.options(priority=priority).delay(name)
        runs = testing.run_until_idle()

    assert ran == ["high", "less high", "mid", "low 1", "urgent", "low 2"]
    assert {run.queue for run in runs} == {"taskq"}
    assert [(sent.queue, sent.priority) for sent in testing.sent][2:5] == [
        ("taskq", 3),
        ("taskq", 9),
        ("taskq", 8),
    ]


def test_in_tests_retries_and_dead_letters_keep_their_step() -> None:
    app = _app()

    @app.task("work", queue="jobs", priority=7, autoretry_for=(ValueError,), max_retries=1)
    def work() -> None:
        raise ValueError("no")

    with on_memory(app) as testing:
        work.delay()
        testing.run_until_idle(raise_errors=False)
        testing.clock.advance(1000)
        testing.run_until_idle(raise_errors=False)

        [letter] = testing.dead_letters

    assert (letter.queue, letter.attempts) == ("jobs", 2)
    assert letter.source.startswith("jobs.p6/")


def test_a_step_is_no_queue_that_can_be_named() -> None:
    _, _, mail = mails()

    for queue in ("mails.p9", "mails.p3"):
        with pytest.raises(TaskqError, match="is taken by taskq's own topics"):
            mail.options(queue=queue).delay("a")
