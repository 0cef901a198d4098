"""A worker's life, with a fake broker and a pool that the test moves; signals are real."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

from taskq.clock import SystemClock
from taskq.errors import BrokerUnreachable, UsageError
from taskq.logs import LogPlan
from taskq.protocols import QueueStatus
from taskq.worker.options import WorkerOptions
from taskq.worker.pools.protocol import Pool
from taskq.worker.signals import ECHO_SECONDS, Signals
from taskq.worker.supervisor import Worker
from tests.support.clock import FakeClock
from tests.support.fake_broker import isolated_app
from tests.support.fake_channel import FakeChannel
from tests.support.held_pool import HeldPool
from tests.support.pools import record_of
from tests.support.waiting import wait_until

PLAN = LogPlan(logging.INFO, logging.INFO, whole=False)


class Life:
    """A worker in the main thread, and a thread beside it that does what the test wants."""

    def __init__(
        self,
        pool: Pool | None = None,
        *,
        grace: float = 25.0,
        queues: tuple[str, ...] = ("q",),
        timers: bool = False,
        strange: tuple[str, ...] = (),
        **settings: object,
    ) -> None:
        self.app, self.broker = isolated_app(**settings)
        self.app.task("a", queue="q")(lambda *args: None)
        self.app.task("late", queue="q", acks_late=True)(lambda *args: None)
        self.channel = FakeChannel()
        self.broker.open_channel = lambda: self.channel  # type: ignore[attr-defined]  # only workers ask
        self.pool = HeldPool(1)
        options = WorkerOptions(
            queues, "prefork", 1, "w1", grace, 64, timers=timers, strange=strange
        )
        self.events: list[str] = []
        for name in ("worker_ready", "worker_shutdown"):
            self.app.on(name)(self._noting(name))
        self.worker = Worker(
            self.app, options, pool or self.pool, PLAN, version="1", clock=SystemClock()
        )
        self.signal_clock = FakeClock()
        """Stands still, so that a second signal is an echo of the first until it is moved."""

        self.problems: list[BaseException] = []

    def _noting(self, name: str) -> Callable[[], None]:
        return lambda: self.events.append(name)

    def run(self, beside: Callable[[], None]) -> int:
        """Run the worker until `beside` has ended it; return the exit code."""

        def script() -> None:
            try:
                wait_until(lambda: self.channel.is_listening, timeout=10, what="the start")
                beside()
            except BaseException as error:  # noqa: BLE001 - shown by the main thread
                self.problems.append(error)
                os.kill(os.getpid(), signal.SIGQUIT)

        thread = threading.Thread(target=script)
        thread.start()
        code = self.run_alone()
        thread.join(10)
        assert not self.problems, self.problems
        return code

    def run_alone(self) -> int:
        """Run the worker until it ends; return the exit code."""
        with Signals(clock=self.signal_clock) as signals:
            return self.worker.run(signals)


@pytest.fixture
def life() -> Iterator[Life]:
    life = Life()
    yield life
    life.worker._intakes.stop()


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


def _lost(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage() for each in caplog.records if getattr(each, "event", "") == "task.lost"
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_idle_worker_with_0(life: Life, number: int) -> None:
    def script() -> None:
        wait_until(lambda: "worker_ready" in life.events, timeout=10, what="the hook")
        _send(number)

    assert life.run(script) == 0
    assert life.events == ["worker_ready", "worker_shutdown"]
    assert life.channel.is_closed


def test_a_stopping_worker_finishes_what_it_has_and_takes_no_more(life: Life) -> None:
    def script() -> None:
        life.channel.put(record_of("a"), record_of("a"))
        life.pool.wait_started(1)
        _send(signal.SIGTERM)
        life.channel.wait(lambda: life.channel.is_closed)
        life.pool.end(life.pool.held[0])

    assert life.run(script) == 0
    assert len(life.pool.started) == 1


def test_what_does_not_finish_within_the_grace_is_named_and_the_code_is_1(
    caplog: pytest.LogCaptureFixture,
) -> None:
    life = Life(grace=0.1)

    def script() -> None:
        life.channel.put(record_of("a", id="slow"))
        life.pool.wait_started(1)
        _send(signal.SIGTERM)

    assert life.run(script) == 1
    assert life.pool.is_killed
    (line,) = _lost(caplog)
    assert "a[slow]" in line
    assert "claimed and not finished" in line


def test_a_second_signal_ends_at_once_with_128_and_its_number(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    def script() -> None:
        life.channel.put(record_of("a", id="slow"))
        life.pool.wait_started(1)
        _send(signal.SIGTERM)
        life.channel.wait(lambda: life.channel.is_closed)
        life.signal_clock.advance(ECHO_SECONDS)
        _send(signal.SIGINT)

    assert life.run(script) == 128 + signal.SIGINT
    assert len(_lost(caplog)) == 1


def test_an_echo_of_the_first_signal_lets_it_finish_what_it_has(life: Life) -> None:
    def script() -> None:
        life.channel.put(record_of("a"))
        life.pool.wait_started(1)
        _send(signal.SIGINT)
        life.channel.wait(lambda: life.channel.is_closed)
        _send(signal.SIGINT)
        life.pool.end(life.pool.held[0])

    assert life.run(script) == 0


def test_a_failure_of_its_own_ends_it_in_order_and_names_what_is_lost(
    life: Life, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tick() -> None:
        if life.pool.started:
            raise RuntimeError("a bug")

    monkeypatch.setattr(life.pool, "tick", tick)

    assert life.run(lambda: life.channel.put(record_of("a", id="running"))) == 1
    assert life.pool.is_killed
    assert "a[running]" in "".join(_lost(caplog))
    assert any(getattr(each, "event", "") == "worker.failed" for each in caplog.records)


def test_no_answer_about_partitions_costs_only_the_banners_counts(life: Life) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no leaders")

    life.broker.admin.partition_counts = refuse  # type: ignore[assignment,method-assign]  # a broker in trouble

    def script() -> None:
        wait_until(lambda: "worker_ready" in life.events, timeout=10, what="the hook")
        _send(signal.SIGTERM)

    assert life.run(script) == 0


def test_sigquit_ends_at_once(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    def script() -> None:
        life.channel.put(record_of("a", id="slow"))
        life.pool.wait_started(1)
        _send(signal.SIGQUIT)

    assert life.run(script) == 128 + signal.SIGQUIT
    assert len(_lost(caplog)) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_who_ends_at_once_gives_late_tasks_back_and_names_none_as_lost(
    life: Life, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    def script() -> None:
        life.channel.put(record_of("late", id="slow"))
        life.pool.wait_started(1)
        if number is signal.SIGTERM:
            _send(number)
            life.channel.wait(lambda: life.channel.is_paused)
            life.signal_clock.advance(ECHO_SECONDS)
        _send(number)

    assert life.run(script) == 128 + number
    assert life.pool.is_killed
    assert life.channel.is_closed
    assert life.channel.settled == []
    assert _lost(caplog) == []


def test_late_tasks_that_are_not_finished_at_the_end_of_the_grace_go_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    life = Life(grace=0.1)

    def script() -> None:
        life.channel.put(record_of("late"))
        life.pool.wait_started(1)
        _send(signal.SIGTERM)

    assert life.run(script) == 1
    assert life.channel.is_closed
    assert _lost(caplog) == []


def test_a_stopping_worker_settles_late_tasks_before_it_ends(life: Life) -> None:
    record = record_of("late")

    def script() -> None:
        life.channel.put(record)
        life.pool.wait_started(1)
        _send(signal.SIGTERM)
        life.channel.wait(lambda: life.channel.is_paused)
        life.pool.end(life.pool.held[0])

    assert life.run(script) == 0
    assert life.channel.settled == [record.delivery_tag]
    assert life.channel.calls[-1] == "close"


def test_a_stopping_worker_does_not_wait_for_a_group_that_does_not_let_it_leave() -> None:
    life = Life(grace=2.5)  # so long it waits, and no task may be at work any more then

    def script() -> None:
        life.channel.put(record_of("late"))
        life.pool.wait_started(1)
        life.channel.leaves.clear()
        _send(signal.SIGTERM)
        life.channel.wait(lambda: life.channel.is_paused)
        life.pool.end(life.pool.held[0])

    assert life.run(script) == 0
    assert not life.channel.is_closed
    life.channel.leaves.set()
    life.channel.wait(lambda: life.channel.is_closed)


def test_failed_tasks_become_dead_letters_before_the_worker_ends(life: Life) -> None:
    def script() -> None:
        life.channel.put(record_of("a"))
        life.pool.wait_started(1)
        _send(signal.SIGTERM)
        life.pool.end(life.pool.held[0], error="ValueError: no")

    assert life.run(script) == 0
    (letter,) = life.broker.publisher.letters
    headers = dict(letter.headers)
    assert headers["dlq-reason"] == b"failed"
    assert headers["dlq-error"] == b"ValueError: no"
    assert headers["dlq-traceback"] == b"trace"
    assert headers["dlq-attempts"] == b"1"


def test_a_broken_pool_ends_the_worker_with_1(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    def script() -> None:
        life.pool.broken = "pool processes do not start"

    assert life.run(script) == 1
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.CRITICAL] == [
        "pool processes do not start; the worker stops"
    ]


def test_a_pool_that_breaks_ends_the_worker_after_what_its_other_lanes_run(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    def script() -> None:
        life.channel.put(record_of("a"))
        life.pool.wait_started(1)
        life.pool.broken = "results cannot be taken"
        life.channel.wait(lambda: life.channel.is_closed)
        life.pool.end(life.pool.held[0], error="ValueError: no")

    assert life.run(script) == 1
    assert not _lost(caplog)
    assert not life.pool.is_killed
    assert len(life.broker.publisher.letters) == 1
    assert life.events[-1] == "worker_shutdown"


def test_a_pool_that_breaks_while_the_worker_stops_changes_only_its_code(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    def script() -> None:
        life.channel.put(record_of("a"))
        life.pool.wait_started(1)
        _send(signal.SIGTERM)
        life.channel.wait(lambda: life.channel.is_closed)
        life.pool.broken = "results cannot be taken"
        wait_until(
            lambda: any(each.levelno == logging.CRITICAL for each in caplog.records),
            timeout=10,
            what="the line that says so",
        )
        life.pool.end(life.pool.held[0])

    assert life.run(script) == 1
    assert not _lost(caplog)


def test_without_a_broker_it_does_not_start(life: Life) -> None:
    life.broker.admin.is_reachable = False

    with pytest.raises(BrokerUnreachable):
        life.run_alone()


def test_processes_start_before_the_broker_is_asked_and_end_if_it_is_not_there(life: Life) -> None:
    life.pool.starts_beside = True
    life.broker.admin.is_reachable = False

    with pytest.raises(BrokerUnreachable):
        life.run_alone()

    assert life.pool.events is not None
    assert life.pool.is_down


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ([signal.SIGINT], 0),
        ([signal.SIGTERM], 0),
        ([signal.SIGQUIT], 131),
        ([signal.SIGTERM, signal.SIGINT], 130),
    ],
)
def test_a_signal_ends_the_wait_for_a_broker_and_what_was_started_for_it(
    life: Life, numbers: list[int], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    life.pool.starts_beside = True
    ended = threading.Event()
    shut_down = life.pool.shut_down

    def shut_down_slowly() -> None:
        life.signal_clock.advance(ECHO_SECONDS)
        for number in numbers[1:]:
            _send(number)
        if not numbers[1:]:
            shut_down()

    def never_answer() -> None:
        _send(numbers[0])
        ended.wait(10)

    life.pool.shut_down = shut_down_slowly  # type: ignore[method-assign]  # its end takes until the next signal
    life.broker.admin.when_checked = never_answer

    try:
        assert life.run_alone() == code
    finally:
        ended.set()

    assert life.pool.is_killed
    assert [each.getMessage() for each in caplog.records if hasattr(each, "event")] == [
        "stopped before it was ready"
    ]
    assert life.events == []


def test_its_queues_are_made(life: Life) -> None:
    assert life.run(lambda: _send(signal.SIGTERM)) == 0
    assert life.broker.admin.created == ["q"]


def test_the_banner_names_what_it_takes(life: Life, capsys: pytest.CaptureFixture[str]) -> None:
    def script() -> None:
        wait_until(lambda: "worker_ready" in life.events, timeout=10, what="the hook")
        _send(signal.SIGTERM)

    life.app.task("elsewhere", queue="billing")(lambda: None)
    life.run(script)

    shown = capsys.readouterr().err
    assert "group:   taskq (protocol consumer)\n" in shown
    assert "  . elsewhere (queue billing)" in shown


def test_without_a_stderr_it_works_and_prints_no_banner_elsewhere(
    life: Life, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)  # as Python has it after `2>&-`

    def script() -> None:
        wait_until(lambda: "worker_ready" in life.events, timeout=10, what="the hook")
        _send(signal.SIGTERM)

    assert life.run(script) == 0
    assert capsys.readouterr().out == ""


def test_the_banner_comes_before_anything_is_taken(life: Life) -> None:
    class Screen(io.StringIO):
        is_listening = False

        def write(self, text: str) -> int:
            Screen.is_listening = Screen.is_listening or life.channel.is_listening
            return super().write(text)

    screen = Screen()
    with contextlib.redirect_stderr(screen):
        life.run(lambda: _send(signal.SIGTERM))

    assert "[tasks]" in screen.getvalue()
    assert not Screen.is_listening


def test_the_record_of_ready_has_the_groups_protocol(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    def script() -> None:
        wait_until(lambda: life.events, timeout=10, what="the hook")
        _send(signal.SIGTERM)

    caplog.set_level(logging.INFO)
    life.run(script)

    (ready,) = [each for each in caplog.records if getattr(each, "event", "") == "worker.ready"]
    assert (ready.getMessage(), ready.protocol) == ("ready", "consumer")  # type: ignore[attr-defined]  # of its extra


@pytest.mark.parametrize("queues", [("q",), ("q", "taskq")])
def test_a_queue_without_topic_that_is_not_to_be_made_is_an_error(queues: tuple[str, ...]) -> None:
    life = Life(queues=queues, auto_create=False)

    with pytest.raises(UsageError, match="there is no topic for q"):
        life.run_alone()


def test_a_default_queue_that_no_task_uses_needs_no_topic(
    caplog: pytest.LogCaptureFixture,
) -> None:
    life = Life(queues=("q", "spare"), auto_create=False, default_queue="spare")
    life.broker.admin.statuses.append(QueueStatus("q", 4, 0, None, 0))

    assert life.run(lambda: _send(signal.SIGTERM)) == 0

    (told,) = [each for each in caplog.records if getattr(each, "event", "") == "worker.no_topic"]
    assert "queue spare has no topic" in told.getMessage()


def test_a_queue_that_is_new_and_that_no_task_goes_to_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    life = Life(queues=("q", "taskk", "old"), strange=("taskk", "old"))
    life.broker.admin.statuses.append(QueueStatus("old", 4, 0, None, 0))

    assert life.run(lambda: _send(signal.SIGTERM)) == 0

    (told,) = [each for each in caplog.records if getattr(each, "event", "") == "worker.new_queue"]
    assert told.getMessage() == (
        "queue taskk is new: made; no task of this app goes there; did you mean 'taskq'?"
    )


def test_solo_runs_tasks_in_the_main_thread() -> None:
    from taskq.running.executor import Executor
    from taskq.worker.pools.solo import SoloPool

    threads: list[threading.Thread] = []
    app, _ = isolated_app()
    app.task("where")(lambda: threads.append(threading.current_thread()))
    pool = SoloPool(Executor(app, PLAN))
    life = Life(pool)
    life.worker._app.registry.add(next(iter(app.registry)))

    def script() -> None:
        life.channel.put(record_of("where"))
        wait_until(lambda: threads, timeout=10, what="the task")
        _send(signal.SIGTERM)

    assert life.run(script) == 0
    assert threads == [threading.main_thread()]
