"""An app on `memory://` in a test: what is sent, what runs, what fails, and that nothing is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from taskq import App, Context, Ignore, Reject, current_request
from taskq.errors import InvalidArguments, UsageError
from taskq.message import encode
from taskq.outcome import Failed, Ignored, Rejected, Retried, Succeeded
from taskq.protocols import Outgoing
from taskq.sources import Sources
from taskq.testing import AppOnMemory, NeverIdle, TaskNotRun, on_memory


@pytest.fixture
def app() -> App:
    app = App("shop")
    app.adopt(Sources())
    return app


def fail(text: str) -> Callable[[], None]:
    def function() -> None:
        raise ValueError(text)

    return function


def put(testing: AppOnMemory, task: str, *args: object, **headers: object) -> None:
    """Write a message as a Celery client could, past the checks of `delay`."""
    value, written = encode(task, f"id-{task}", args, {}, headers=headers)
    assert testing.app.broker.publish([Outgoing("taskq", value, written)]) == [None]


def test_what_is_sent_can_be_looked_at(app: App) -> None:
    @app.task("invoice", queue="billing")
    def invoice(customer: str, *, amount: int) -> None: ...

    with on_memory(app) as testing:
        result = invoice.options(key="ACME", headers={"tenant": "x"}).delay("ACME", amount=3)

    [sent] = testing.sent
    assert (sent.task, sent.args, sent.kwargs) == ("invoice", ("ACME",), {"amount": 3})
    assert (sent.id, sent.queue, sent.key) == (result.id, "billing", "ACME")
    assert sent.headers == {"tenant": "x"}


def test_a_key_that_is_no_text_is_shown_as_bytes(app: App) -> None:
    with on_memory(app) as testing:
        app.send_task("x", key=b"\xff")

    assert testing.sent[0].key == b"\xff"


def test_nothing_runs_before_it_is_asked_for(app: App) -> None:
    ran: list[int] = []
    note = app.task("note")(ran.append)

    with on_memory(app) as testing:
        note.delay(1)
        assert ran == []
        runs = testing.run_until_idle()

    assert ran == [1]
    assert [(run.task, run.args, run.outcome) for run in runs] == [("note", (1,), Succeeded(None))]


def test_a_task_runs_once(app: App) -> None:
    ran: list[int] = []
    note = app.task("note")(ran.append)

    with on_memory(app) as testing:
        note.delay(1)
        testing.run_until_idle()

        assert testing.run_until_idle() == []
    assert ran == [1]


def test_tasks_that_tasks_send_run_too(app: App) -> None:
    @app.task("count")
    def count(number: int) -> int:
        if number:
            count.delay(number - 1)
        return number

    with on_memory(app) as testing:
        count.delay(2)

        assert [run.result for run in testing.run_until_idle()] == [2, 1, 0]
    assert len(testing.sent) == 3


def test_tasks_run_in_the_order_in_which_they_were_sent(app: App) -> None:
    ran: list[int] = []
    one = app.task("one", queue="one")(lambda number: ran.append(number))
    two = app.task("two", queue="two")(lambda number: ran.append(number))

    with on_memory(app) as testing:
        for number in range(40):
            (two if number % 2 else one).options(key=str(number % 3)).delay(number)
        testing.run_until_idle()

    assert ran == list(range(40))


def test_one_key_is_one_partition(app: App) -> None:
    where = app.task("where")(lambda: getattr(current_request(), "partition", None))

    with on_memory(app) as testing:
        where.options(key="ACME").delay()
        where.options(key="ACME").delay()
        first, second = testing.run_until_idle()

    assert first.result == second.result


def test_an_error_is_raised_when_all_have_run(app: App) -> None:
    ran: list[int] = []
    bad = app.task("bad")(fail("no"))
    good = app.task("good")(ran.append)

    with on_memory(app) as testing:
        bad.delay()
        good.delay(1)
        with pytest.raises(ValueError, match="no"):
            testing.run_until_idle()

        assert ran == [1]
        [letter] = testing.dead_letters
    assert (letter.task, letter.reason, letter.error) == ("bad", "failed", "ValueError: no")


def test_errors_can_be_looked_at_instead(app: App) -> None:
    bad = app.task("bad")(fail("no"))

    with on_memory(app) as testing:
        bad.delay()
        [run] = testing.run_until_idle(raise_errors=False)

    assert run.has_failed
    assert isinstance(run.outcome, Failed)
    assert isinstance(run.error, ValueError)
    assert run.result is None


def test_reject_and_ignore_are_no_errors(app: App) -> None:
    @app.task("rejected")
    def rejected() -> None:
        raise Reject("bad customer")

    @app.task("ignored")
    def ignored() -> None:
        raise Ignore("nothing to do")

    with on_memory(app) as testing:
        rejected.delay()
        ignored.delay()
        runs = testing.run_until_idle()

        assert [letter.reason for letter in testing.dead_letters] == ["rejected"]
    assert [run.outcome for run in runs] == [Rejected("bad customer"), Ignored("nothing to do")]


def test_a_task_that_nobody_knows_is_a_dead_letter_and_an_error(app: App) -> None:
    app.task("invoice")(lambda: None)

    with on_memory(app) as testing:
        app.send_task("invoce")
        with pytest.raises(TaskNotRun, match="did you mean 'invoice'") as raised:
            testing.run_until_idle()

        assert [letter.reason for letter in testing.dead_letters] == ["unknown_task"]
    assert raised.value.reason == "unknown_task"


def test_wrong_arguments_are_a_dead_letter_and_an_error(app: App) -> None:
    app.task("invoice")(lambda: None)

    with on_memory(app) as testing:
        put(testing, "invoice", 1, 2)
        with pytest.raises(TaskNotRun) as raised:
            testing.run_until_idle()

        assert [letter.reason for letter in testing.dead_letters] == ["bad_arguments"]
    assert raised.value.run.task == "invoice"


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_an_error(app: App) -> None:
    with on_memory(app) as testing:
        put(testing, "x", eta="soon")
        with pytest.raises(TaskNotRun, match="eta"):
            testing.run_until_idle()

    assert [sent.task for sent in testing.sent] == ["x"]


def linked(task: str, queue: str) -> dict[str, object]:
    """Return what a Celery client says of a task that is to follow."""
    return {"callbacks": [{"task": task, "args": [], "kwargs": {}, "options": {"queue": queue}}]}


def test_what_is_to_follow_a_task_follows(app: App) -> None:
    app.task("first")(lambda: 3)
    app.task("second")(lambda value: value + 1)
    value, headers = encode("first", "1", (), {}, embed=linked("second", "other"))

    with on_memory(app) as testing:
        app.broker.publish([Outgoing("taskq", value, headers)])

        assert [(run.queue, run.result) for run in testing.run_until_idle()] == [
            ("taskq", 3),
            ("other", 4),
        ]


def test_what_was_to_follow_and_cannot_be_sent_is_a_dead_letter(app: App) -> None:
    app.task("first")(lambda: "x" * 1_100_000)  # more than a record takes
    value, headers = encode("first", "1", (), {}, embed=linked("second", "other"))

    with on_memory(app) as testing:
        app.broker.publish([Outgoing("taskq", value, headers)])
        testing.run_until_idle()

        [letter] = testing.dead_letters
    assert (letter.task, letter.reason) == ("first", "failed")


def test_a_task_that_expires_behind_another_does_not_run(app: App) -> None:
    with on_memory(app) as testing:
        app.task("slow")(lambda: testing.clock.advance(3601))
        app.task("note")(lambda: None)
        put(testing, "slow")
        put(testing, "note", expires=(testing.clock.now() + timedelta(hours=1)).isoformat())

        slow, note = testing.run_until_idle()

    assert slow.outcome == Succeeded(None)
    assert note.outcome == Ignored("expired")


def test_ctrl_c_in_a_task_ends_the_run_at_once(app: App) -> None:
    @app.task("interrupted")
    def interrupted() -> None:
        raise KeyboardInterrupt

    note = app.task("note")(lambda: None)

    with on_memory(app) as testing:
        interrupted.delay()
        note.delay()
        with pytest.raises(KeyboardInterrupt):
            testing.run_until_idle(raise_errors=False)

        assert [run.task for run in testing.run_until_idle()] == ["note"]


def test_a_task_that_sends_itself_without_end_is_stopped(app: App) -> None:
    @app.task("again")
    def again() -> None:
        again.delay()

    with on_memory(app) as testing:
        again.delay()
        with pytest.raises(NeverIdle, match="again"):
            testing.run_until_idle(limit=5)

    assert len(testing.sent) == 6


def test_async_tasks_run(app: App) -> None:
    @app.task("fetch")
    async def fetch() -> int:
        await asyncio.sleep(0)
        return 3

    with on_memory(app) as testing:
        fetch.delay()

        assert [run.result for run in testing.run_until_idle()] == [3]


def test_async_tests_run_async_tasks_on_their_own_loop(app: App) -> None:
    @app.task("loop")
    async def loop() -> object:
        return asyncio.get_running_loop()

    plain = app.task("plain")(lambda: 1)

    async def test() -> tuple[object, list[object]]:
        await loop.adelay()
        await plain.adelay()
        runs = await testing.arun_until_idle()
        return asyncio.get_running_loop(), [run.result for run in runs]

    with on_memory(app) as testing:
        running, results = asyncio.run(test())

    assert results == [running, 1]


def test_on_a_running_loop_the_async_form_is_asked_for(app: App) -> None:
    async def test() -> None:
        testing.run_until_idle()

    with on_memory(app) as testing, pytest.raises(UsageError, match="arun_until_idle"):
        asyncio.run(test())


def test_a_moved_clock_lets_a_task_expire(app: App) -> None:
    ran: list[int] = []
    app.task("note")(lambda: ran.append(1))

    with on_memory(app) as testing:
        put(testing, "note", expires=(testing.clock.now() + timedelta(hours=1)).isoformat())
        testing.clock.advance(3601)
        [run] = testing.run_until_idle()

    assert run.outcome == Ignored("expired")
    assert ran == []


def test_an_eta_that_has_come_by_the_moved_clock_has_come(app: App) -> None:
    app.task("note")(lambda: 1)

    with on_memory(app) as testing:
        put(testing, "note", eta=(testing.clock.now() + timedelta(hours=1)).isoformat())
        testing.clock.advance(3601)

        assert [run.result for run in testing.run_until_idle()] == [1]


def test_the_workers_hooks_are_called_around_the_tasks(app: App) -> None:
    called: list[str] = []
    app.on("worker_process_init")(lambda: called.append("init"))
    app.on("worker_process_shutdown")(lambda: called.append("shutdown"))
    app.on("before_run")(lambda request: called.append(request.task))
    note = app.task("note")(lambda: None)

    with on_memory(app) as testing:
        note.delay()
        testing.run_until_idle()
        note.delay()
        testing.run_until_idle()

    assert called == ["init", "note", "note", "shutdown"]


def test_a_start_hook_that_fails_is_raised(app: App) -> None:
    called: list[str] = []
    app.on("worker_process_init")(fail("no database"))
    app.on("worker_process_shutdown")(lambda: called.append("shutdown"))

    with on_memory(app) as testing, pytest.raises(ValueError, match="no database"):
        testing.run_until_idle()

    assert called == []


def test_lines_about_tasks_are_log_records(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    note = app.task("note")(lambda: None)

    with on_memory(app) as testing:
        note.delay()
        testing.run_until_idle()

    assert [getattr(record, "event", "") for record in caplog.records] == ["task.succeeded"]


def test_settings_and_broker_are_as_they_were_afterwards(app: App) -> None:
    app.configure(broker="kafka.example:9092", prefix="shop.")
    broker, settings = app.broker, app.settings

    with on_memory(app):
        assert app.settings.broker.startswith("memory://")
        assert app.settings.prefix == "shop."
        app.configure(default_queue="other")

    assert app.settings == settings
    assert app.broker is broker


def test_an_app_that_makes_no_topics_sends_to_memory_all_the_same(app: App) -> None:
    app.configure(auto_create=False)

    with on_memory(app) as testing:
        app.send_task("x")

    assert len(testing.sent) == 1


def test_nothing_reaches_the_next_test(app: App) -> None:
    note = app.task("note")(lambda: None)
    bad = app.task("bad")(fail("no"))
    with on_memory(app) as first:
        bad.delay()
        first.run_until_idle(raise_errors=False)
        note.delay()
        first.clock.advance(3600)

    with on_memory(app) as second:
        assert second.run_until_idle() == []
        assert (second.sent, second.dead_letters) == ([], [])
        assert first.clock.now() - second.clock.now() > timedelta(minutes=59)


def test_two_apps_do_not_meet(app: App) -> None:
    other = App("other")
    other.adopt(Sources())
    note = app.task("note")(lambda: None)

    with on_memory(app) as one, on_memory(other) as two:
        note.delay()

        assert (two.run_until_idle(), two.sent) == ([], [])
        assert [run.task for run in one.run_until_idle()] == ["note"]


def test_an_app_comes_back_to_the_outer_of_two_blocks(app: App) -> None:
    note = app.task("note")(lambda: None)

    with on_memory(app) as outer:
        note.delay()
        with on_memory(app) as inner:
            assert inner.run_until_idle() == []

        assert len(outer.run_until_idle()) == 1


class TestDelays:
    def test_a_task_waits_until_the_clock_is_moved(self, app: App) -> None:
        @app.task("remind")
        def remind(text: str) -> str:
            return text

        with on_memory(app) as testing:
            remind.options(countdown=3600).delay("call")
            before = testing.run_until_idle()
            testing.clock.advance(3600)

            [run] = testing.run_until_idle()

        assert before == []
        assert run.result == "call"

    def test_it_runs_once(self, app: App) -> None:
        @app.task("remind")
        def remind() -> None: ...

        with on_memory(app) as testing:
            remind.options(countdown=60).delay()
            testing.clock.advance(60)
            first = testing.run_until_idle()

            assert len(first) == 1
            assert testing.run_until_idle() == []

    def test_it_is_among_what_was_sent_with_its_eta(self, app: App) -> None:
        @app.task("remind", queue="later")
        def remind() -> None: ...

        with on_memory(app) as testing:
            eta = testing.clock.now() + timedelta(hours=1)
            result = remind.options(eta=eta, key="k", headers={"own": 1}).delay()
            testing.clock.advance(3600)
            testing.run_until_idle()

            [sent] = testing.sent

        assert (sent.id, sent.queue, sent.key, sent.headers) == (
            result.id,
            "later",
            "k",
            {"own": 1},
        )
        assert sent.eta == eta

    def test_it_knows_its_eta(self, app: App) -> None:
        @app.task("remind")
        def remind() -> object:
            request = current_request()
            return request and request.eta

        with on_memory(app) as testing:
            eta = testing.clock.now() + timedelta(hours=1)
            remind.options(eta=eta).delay()
            testing.clock.advance(3600)

            [run] = testing.run_until_idle()

        assert run.result == eta

    def test_those_that_wait_run_in_the_order_of_their_times(self, app: App) -> None:
        @app.task("say")
        def say(word: str) -> None: ...

        with on_memory(app) as testing:
            for word, countdown in (("c", 3), ("a", 1), ("b", 2)):
                say.options(countdown=countdown).delay(word)
            say.delay("now")
            testing.clock.advance(3)

            ran = testing.run_until_idle()

        assert [run.args for run in ran] == [("now",), ("a",), ("b",), ("c",)]

    def test_one_that_expired_before_the_clock_was_moved_does_not_run(self, app: App) -> None:
        @app.task("remind")
        def remind() -> None: ...

        with on_memory(app) as testing:
            remind.options(expires=10).delay()
            testing.clock.advance(10)

            [run] = testing.run_until_idle()

        assert run.outcome == Ignored("expired")


class TestRevokedTasks:
    def test_one_that_waits_for_a_worker_does_not_run(self, app: App) -> None:
        @app.task("remind")
        def remind() -> None: ...

        with on_memory(app) as testing:
            result = remind.delay()
            remind.delay()
            result.revoke()

            first, second = sorted(testing.run_until_idle(), key=lambda run: run.id != result.id)

        assert (first.id, first.outcome) == (result.id, Ignored("revoked"))
        assert isinstance(second.outcome, Succeeded)

    def test_one_that_a_task_before_it_revokes_does_not_run(self, app: App) -> None:
        @app.task("gives up")
        def gives_up(id: str) -> None:
            app.revoke(id, terminate=True)

        @app.task("remind")
        def remind() -> None: ...

        with on_memory(app) as testing:
            gives_up.delay("x")
            app.send_task("remind", task_id="x")

            first, second = testing.run_until_idle()

        assert isinstance(first.outcome, Succeeded)
        assert (second.id, second.outcome) == ("x", Ignored("revoked"))

    def test_one_that_revokes_itself_runs_to_its_end(self, app: App) -> None:
        @app.task("gives up")
        def gives_up(id: str) -> None:
            app.revoke(id, terminate=True)

        with on_memory(app) as testing:
            gives_up.apply_async(args=("x",), task_id="x")

            [run] = testing.run_until_idle()

        assert isinstance(run.outcome, Succeeded)

    def test_one_that_waits_for_its_time_is_cancelled(self, app: App) -> None:
        @app.task("remind")
        def remind() -> None: ...

        with on_memory(app) as testing:
            remind.options(countdown=10).delay().revoke()
            testing.clock.advance(10)

            assert testing.run_until_idle() == []

    def test_one_that_has_run_or_that_nobody_knows_can_be_revoked_for_nothing(
        self, app: App
    ) -> None:
        @app.task("remind")
        def remind() -> None: ...

        with on_memory(app) as testing:
            result = remind.delay()
            testing.run_until_idle()
            result.revoke()
            app.revoke("nobody")

            assert testing.run_until_idle() == []
            assert testing.dead_letters == []

    def test_a_revocation_counts_for_a_day(self, app: App) -> None:
        @app.task("remind")
        def remind() -> None: ...

        with on_memory(app) as testing:
            app.revoke("x")
            testing.clock.advance(86_400)
            app.send_task("remind", task_id="x")

            [run] = testing.run_until_idle()

        assert isinstance(run.outcome, Succeeded)


def test_a_celery_clients_message_with_an_eta_waits_for_it(app: App) -> None:
    @app.task("remind")
    def remind() -> None: ...

    with on_memory(app) as testing:
        eta = testing.clock.now() + timedelta(seconds=60)
        value, headers = encode("remind", "x", (), {}, headers={"eta": eta.isoformat()})
        app.broker.publish([Outgoing(app.settings.default_queue, value, headers)])
        before = testing.run_until_idle()
        testing.clock.advance(60)

        [run] = testing.run_until_idle()

    assert before == []
    assert (run.id, run.outcome) == ("x", Succeeded(None))


def test_a_task_that_settles_late_runs_once_and_leaves_nothing(app: App) -> None:
    seen: list[tuple[int, bool]] = []

    @app.task("late", acks_late=True)
    def late() -> None:
        request = current_request()
        assert request is not None
        seen.append((request.deliveries, request.redelivered))

    with on_memory(app) as testing:
        late.delay()
        testing.run_until_idle()
        left = app.broker.admin.queue_status(["taskq"], group="taskq", timeout=1)
        again = testing.run_until_idle()

    assert seen == [(1, False)]
    assert [status.lag for status in left] == [0]
    assert again == []


def test_a_task_that_settles_late_and_fails_is_a_dead_letter(app: App) -> None:
    app.task("late", acks_late=True)(fail("no"))

    with on_memory(app) as testing:
        app.send_task("late")
        testing.run_until_idle(raise_errors=False)
        [letter] = testing.dead_letters

    assert (letter.reason, letter.attempts) == ("failed", 1)


def test_a_retry_runs_when_its_time_has_come_by_the_moved_clock(app: App) -> None:
    runs: list[int] = []

    @app.task("charge", bind=True, autoretry_for=(ConnectionError,), retry_backoff=4)
    def charge(self: Context) -> str:
        runs.append(self.request.retries)
        if len(runs) < 3:
            raise ConnectionError("away")
        return "charged"

    with on_memory(app) as testing:
        id = charge.delay().id
        [first] = testing.run_until_idle()
        testing.clock.advance(4)
        [second] = testing.run_until_idle()
        testing.clock.advance(8)
        [third] = testing.run_until_idle()

        assert [type(run.outcome) for run in (first, second, third)] == [
            Retried,
            Retried,
            Succeeded,
        ]
        assert {run.id for run in (first, second, third)} == {id}
        assert isinstance(first.error, ConnectionError)
        assert runs == [0, 1, 2]
        assert [sent.id for sent in testing.sent] == [id]
        assert testing.dead_letters == []


def test_after_the_last_retry_the_error_is_raised_and_the_letter_tells_all(app: App) -> None:
    @app.task(
        "charge", autoretry_for=(OSError,), max_retries=2, retry_backoff=10, retry_jitter=False
    )
    def charge() -> None:
        raise ConnectionError("away")

    with on_memory(app) as testing:
        charge.delay()
        testing.run_until_idle()
        testing.clock.advance(10)
        testing.run_until_idle()
        testing.clock.advance(10)
        assert testing.run_until_idle() == []  # the second wait is twice as long
        testing.clock.advance(10)
        with pytest.raises(ConnectionError):
            testing.run_until_idle()

        [letter] = testing.dead_letters
        assert (letter.reason, letter.attempts) == ("retries_exhausted", 3)
        assert letter.error == "ConnectionError: away"
        assert [attempt.error for attempt in letter.earlier] == 2 * ["ConnectionError: away"]
        assert letter.details["first-failed"] == letter.earlier[0].at < str(letter.failed_at)


def test_a_retry_at_once_runs_behind_what_waits(app: App) -> None:
    @app.task("charge", bind=True)
    def charge(self: Context) -> None:
        if not self.request.retries:
            self.retry(countdown=0)

    note = app.task("note")(lambda: None)

    with on_memory(app) as testing:
        charge.delay()
        note.delay()

        assert [run.task for run in testing.run_until_idle()] == ["charge", "note", "charge"]


def test_a_record_of_another_program_is_retried_too(app: App) -> None:
    seen: list[object] = []

    @app.task("charge", bind=True)
    def charge(self: Context, amount: int) -> None:
        seen.append((self.request.id, self.request.retries, amount))
        if self.request.retries < 2:
            self.retry(countdown=self.request.retries)

    with on_memory(app) as testing:
        value = b'{"task": "charge", "args": [3], "id": "order-7"}'
        testing.app.broker.publish([Outgoing("taskq", value, [])])
        testing.run_until_idle()
        testing.clock.advance(1)
        testing.run_until_idle()

    assert seen == [("order-7", retries, 3) for retries in range(3)]


def test_what_puts_itself_back_comes_again_and_ever_later(app: App) -> None:
    seen: list[object] = []

    @app.task("charge", bind=True)
    def charge(self: Context) -> None:
        seen.append((self.request.redelivered, self.request.retries))
        raise Reject("not now", requeue=True)

    with on_memory(app) as testing:
        charge.delay()
        [first, second] = testing.run_until_idle()
        testing.clock.advance(1)
        [third] = testing.run_until_idle()

    assert first.outcome == second.outcome == third.outcome == Rejected("not now", requeue=True)
    assert seen == [(False, 0), (True, 0), (True, 0)]


def test_a_retry_that_would_come_after_its_expires_is_a_dead_letter(app: App) -> None:
    @app.task("charge", autoretry_for=(OSError,), default_retry_delay=100)
    def charge() -> None:
        raise OSError("away")

    with on_memory(app) as testing:
        charge.options(expires=60).delay()
        testing.run_until_idle(raise_errors=False)

        [letter] = testing.dead_letters
        assert letter.reason == "retries_exhausted"
        assert letter.error == "OSError: away (its next retry would come after its expires)"


def test_a_task_that_settles_late_is_retried_as_a_new_delivery(app: App) -> None:
    seen: list[tuple[int, int, bool]] = []

    @app.task("late", bind=True, acks_late=True)
    def late(self: Context) -> None:
        request = self.request
        seen.append((request.retries, request.deliveries, request.redelivered))
        if len(seen) < 3:
            self.retry(countdown=len(seen) - 1)

    with on_memory(app) as testing:
        late.delay()
        testing.run_until_idle()
        testing.clock.advance(1)
        testing.run_until_idle()
        left = app.broker.admin.queue_status(["taskq"], group="taskq", timeout=1)

    assert seen == [(0, 1, False), (1, 1, False), (2, 1, False)]
    assert [status.lag for status in left] == [0]


def test_a_retry_of_a_task_with_a_key_runs_before_the_next_of_its_key(app: App) -> None:
    ran: list[str] = []

    @app.task("step", bind=True, max_retries=2)
    def step(self: Context, name: str) -> None:
        ran.append(f"{name}{self.request.retries}")
        if name == "a" and self.request.retries < 2:
            raise self.retry(countdown=20)

    with on_memory(app) as testing:
        for name in "ab":
            step.options(key="k").delay(name)
        step.options(key="other").delay("c")

        testing.run_until_idle(raise_errors=False)
        assert ran == ["a0", "c0"]
        testing.clock.advance(19)
        testing.run_until_idle(raise_errors=False)
        assert ran == ["a0", "c0"]
        testing.clock.advance(1)
        testing.run_until_idle(raise_errors=False)
        assert ran == ["a0", "c0", "a1"]
        testing.clock.advance(20)
        testing.run_until_idle(raise_errors=False)

    assert ran == ["a0", "c0", "a1", "a2", "b0"]


@pytest.mark.parametrize("acks_late", [False, True])
def test_key_hold_ends_the_retries_of_a_task_with_a_key(app: App, acks_late: bool) -> None:
    ran: list[str] = []

    @app.task(
        "step",
        acks_late=acks_late,
        autoretry_for=ValueError,
        max_retries=None,
        default_retry_delay=25,
    )
    def step(name: str) -> None:
        ran.append(name)
        if name == "a":
            raise ValueError("no")

    with on_memory(app) as testing:
        for name in "ab":
            step.options(key="k").delay(name)
        for _ in range(3):
            testing.run_until_idle(raise_errors=False)
            testing.clock.advance(25)
        [letter] = testing.dead_letters

    assert ran == ["a", "a", "a", "b"]
    assert (letter.reason, letter.attempts) == ("retries_exhausted", 3)
    assert letter.error is not None
    assert "key_hold, the 60 s" in letter.error


def test_a_task_that_puts_itself_back_for_ever_lets_its_key_go_on(app: App) -> None:
    ran: list[str] = []

    @app.task("step", key_hold=2.5)  # it waits 0, 1 and 2 s
    def step(name: str) -> None:
        ran.append(name)
        if name == "a":
            raise Reject("not yet", requeue=True)

    with on_memory(app) as testing:
        for name in "ab":
            step.options(key="k").delay(name)
        for _ in range(5):
            testing.run_until_idle(raise_errors=False)
            testing.clock.advance(1)
        [letter] = testing.dead_letters

    assert ran == ["a", "a", "a", "b"]
    assert letter.reason == "retries_exhausted"
    assert "taskq-held" not in dict(letter.headers)


def test_a_revoked_task_that_waits_in_its_place_is_not_run_again(app: App) -> None:
    ran: list[str] = []

    @app.task("step", autoretry_for=ValueError, default_retry_delay=20)
    def step(name: str) -> None:
        ran.append(name)
        if name == "a":
            raise ValueError("no")

    with on_memory(app) as testing:
        first = step.options(key="k").delay("a")
        step.options(key="k").delay("b")
        testing.run_until_idle(raise_errors=False)
        first.revoke()
        testing.clock.advance(20)
        testing.run_until_idle(raise_errors=False)

    assert ran == ["a", "b"]


@pytest.mark.parametrize("key", ["", b"", 7])
def test_a_key_that_is_empty_or_no_text_is_refused(app: App, key: object) -> None:
    with on_memory(app) as testing, pytest.raises(InvalidArguments, match="key"):
        app.send_task("step", key=key)  # type: ignore[arg-type]  # on purpose

    assert not testing.sent
