"""Beat: sends in time, keeps what was not acknowledged, reloads, and notices what the clock does."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq.beat import Beat
from taskq.errors import BrokerUnreachable, ScheduleFileError, UsageError
from taskq.protocols import Outgoing
from tests.support.clock import START, FakeClock
from tests.support.fake_broker import isolated_app

Answer = Callable[[Outgoing], "Exception | None"]


class FakeBroker:
    """Takes what beat publishes, a list a call, and answers what the test says."""

    address = "nowhere:9092"

    def __init__(self) -> None:
        self.calls: list[list[Outgoing]] = []
        self.answer: Answer = lambda message: None
        self.reachable = True
        self.published = threading.Event()

    def check(self) -> None:
        if not self.reachable:
            raise BrokerUnreachable(self.address)

    def publish(self, messages: Sequence[Outgoing]) -> list[Exception | None]:
        self.calls.append(list(messages))
        self.published.set()
        return [self.answer(message) for message in messages]

    def close(self) -> None:
        """Nothing is open."""

    @property
    def ids(self) -> list[str]:
        return [id_of(message) for call in self.calls for message in call]


class JumpingClock(FakeClock):
    """A clock whose wall time may be set, and whose waits move it instead of blocking."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = timedelta(0)
        self.during_wait: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return super().now() + self.shift

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        assert timeout is not None
        self.advance(timeout)
        self.during_wait()
        return event.is_set()


class Bench:
    """A beat with a file, a fake broker and a clock that the test moves."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "jobs.json"
        self.app, _ = isolated_app()
        self.broker = FakeBroker()
        self.app._brokers[os.getpid()] = self.broker  # type: ignore[assignment]  # as much of it as beat uses
        self.clock = JumpingClock()

    def write(self, *items: dict[str, Any]) -> None:
        filled = [{"cron": "* * * * * *", "task": "t", **item} for item in items]
        self.path.write_text(json.dumps(filled), "utf-8")

    def beat(self, **options: Any) -> Beat:
        beat = Beat(self.app, [str(self.path)], clock=self.clock, **options)
        beat.start()
        return beat

    def go(self, beat: Beat, seconds: float) -> None:
        """Let beat turn as its `run` does, until the clock has moved on."""
        end = self.clock.monotonic() + seconds
        while True:
            pause = beat.step()
            left = end - self.clock.monotonic()
            if pause > left:
                self.clock.advance(left)
                return
            self.clock.advance(pause)


def id_of(message: Outgoing) -> str:
    return dict(message.headers)["id"].decode()


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in caplog.records if hasattr(record, "event")]


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level(logging.DEBUG, "taskq")
    return Bench(tmp_path)


def test_each_second_is_sent_once(bench: Bench) -> None:
    bench.write({"id": "a"})
    beat = bench.beat()

    bench.go(beat, 3.5)

    assert bench.broker.ids == [f"jobs/a@2026-11-23T17:00:0{n}Z" for n in (1, 2, 3)]


def test_message_carries_what_the_entry_says(bench: Bench) -> None:
    bench.write(
        {
            "id": "a",
            "args": [1],
            "kwargs": {"x": "ü"},
            "queue": "billing",
            "key": "ACME",
            "expires": 30,
            "headers": {"tenant": "ACME", "level": 3},
        }
    )
    beat = bench.beat()

    bench.go(beat, 1.5)

    message = bench.broker.calls[0][0]
    headers = dict(message.headers)
    assert (message.queue, message.key) == ("billing", b"ACME")
    assert json.loads(message.value)[:2] == [[1], {"x": "ü"}]
    assert headers["task"] == b"t"
    assert headers["scheduled_for"] == b"2026-11-23T17:00:01Z"
    assert headers["expires"] == b"2026-11-23T17:00:31+00:00"
    assert (headers["tenant"], headers["level"]) == (b"ACME", b"3")


def test_queue_is_the_tasks_own_or_the_default(bench: Bench) -> None:
    bench.app.task("known", queue="own")(lambda: None)
    bench.write({"id": "a", "task": "known"}, {"id": "b", "task": "unknown"})
    beat = bench.beat()

    bench.go(beat, 1.5)

    assert sorted(message.queue for message in bench.broker.calls[0]) == ["own", "taskq"]


def test_several_that_are_due_go_in_one_call(bench: Bench) -> None:
    bench.write(*({"id": str(n)} for n in range(50)))
    beat = bench.beat()

    bench.go(beat, 2.5)

    assert [len(call) for call in bench.broker.calls] == [50, 50]


def test_it_sleeps_until_the_next_is_due(bench: Bench) -> None:
    bench.clock.advance(0.4)
    bench.write({"id": "a"})
    beat = bench.beat()

    assert beat.step() == pytest.approx(0.6)


def test_it_sleeps_a_second_at_most(bench: Bench) -> None:
    bench.write({"id": "a", "cron": "0 0 1 1 *"})
    beat = bench.beat()

    assert beat.step() == 1.0


class TestFailures:
    def test_what_was_not_acknowledged_is_sent_again_with_the_same_id(self, bench: Bench) -> None:
        bench.write({"id": "a", "cron": "@every 1h"})
        beat = bench.beat()
        bench.clock.advance(3600)
        bench.broker.answer = lambda message: TimeoutError("no answer")
        beat.step()
        bench.broker.answer = lambda message: None

        bench.go(beat, 30)

        assert bench.broker.ids == ["jobs/a@2026-11-23T18:00:00Z"] * 2

    def test_long_outage_loses_nothing(self, bench: Bench) -> None:
        bench.write({"id": "a", "catch_up": "none"})
        beat = bench.beat()
        bench.broker.answer = lambda message: ConnectionError("away")
        bench.go(beat, 300)
        bench.broker.calls.clear()
        bench.broker.answer = lambda message: None

        bench.go(beat, 9.5)

        planned = [START + timedelta(seconds=n) for n in range(1, 310)]
        assert bench.broker.ids == [f"jobs/a@{at:%Y-%m-%dT%H:%M:%SZ}" for at in planned]

    def test_one_that_cannot_be_sent_stops_no_other(self, bench: Bench) -> None:
        bench.write({"id": "bad", "queue": "forbidden"}, {"id": "good"})
        bench.broker.answer = lambda message: (
            PermissionError("no rights") if message.queue == "forbidden" else None
        )
        beat = bench.beat()

        bench.go(beat, 20.5)

        good = [id for id in bench.broker.ids if id.startswith("jobs/good")]
        assert len(good) == len(set(good)) == 20

    def test_only_the_unacknowledged_part_is_sent_again(self, bench: Bench) -> None:
        bench.write({"id": "a"}, {"id": "b"})
        beat = bench.beat()
        bench.clock.advance(1)
        bench.broker.answer = lambda message: (
            TimeoutError("x") if id_of(message).startswith("jobs/b") else None
        )
        beat.step()
        bench.broker.answer = lambda message: None
        bench.go(beat, 1.5)

        assert bench.broker.ids.count("jobs/a@2026-11-23T17:00:01Z") == 1
        assert bench.broker.ids.count("jobs/b@2026-11-23T17:00:01Z") == 2

    def test_broker_that_is_away_gives_one_line_a_try(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write(*({"id": str(n)} for n in range(100)))
        beat = bench.beat()
        bench.broker.answer = lambda message: ConnectionError("away")

        bench.go(beat, 20)

        assert 4 <= events(caplog).count("occurrence.unsent") <= 8

    def test_broker_that_is_away_at_the_start_is_an_error(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        bench.broker.reachable = False

        with pytest.raises(BrokerUnreachable):
            bench.beat()

    def test_turn_that_raises_keeps_what_was_due(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a", "cron": "@every 1s", "end": "2026-11-23T17:00:01Z"})
        beat = Beat(bench.app, [str(bench.path)], clock=bench.clock)
        answers: list[Exception | None] = [OSError("odd"), None]

        def answer(message: Outgoing) -> Exception | None:
            found = answers.pop(0)
            if found is not None:
                raise found
            beat.stop()
            return None

        bench.broker.answer = answer
        beat.run()

        assert bench.broker.ids == ["jobs/a@2026-11-23T17:00:01Z"] * 2
        assert "beat.turn_failed" in events(caplog)

    def test_what_a_stopping_beat_could_not_send_is_named(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})
        beat = Beat(bench.app, [str(bench.path)], clock=bench.clock)

        def answer(message: Outgoing) -> Exception:
            beat.stop()
            return ConnectionError("away")

        bench.broker.answer = answer
        assert beat.run() == 2  # another came due in its last wait

        (line,) = [r for r in caplog.records if getattr(r, "event", "") == "occurrence.lost"]
        assert "jobs/a@2026-11-23T17:00:01Z to jobs/a@2026-11-23T17:00:02Z" in line.getMessage()

    def test_all_that_came_due_while_the_broker_was_away_is_named_at_the_stop(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"}, {"id": "b", "cron": "*/10 * * * * *"})
        bench.broker.answer = lambda message: ConnectionError("away")
        beat = bench.beat()
        bench.go(beat, 30)

        lost = beat._say_unsent()

        lines = [r for r in caplog.records if getattr(r, "event", "") == "occurrence.lost"]
        told = {r.id: (r.last, r.count) for r in lines}  # type: ignore[attr-defined]  # extra fields
        assert lost == 33
        assert told == {
            "jobs/a@2026-11-23T17:00:01Z": ("jobs/a@2026-11-23T17:00:30Z", 30),
            "jobs/b@2026-11-23T17:00:10Z": ("jobs/b@2026-11-23T17:00:30Z", 3),
        }


class TestReload:
    def test_changed_file_is_in_force_within_a_second(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"}, {"id": "b"})
        beat = bench.beat()
        bench.go(beat, 2.5)

        bench.write({"id": "a", "args": [2]}, {"id": "c"})
        bench.go(beat, 2)

        ids = bench.broker.ids
        assert "jobs/b@2026-11-23T17:00:04Z" not in ids
        assert "jobs/c@2026-11-23T17:00:04Z" in ids
        changed = [m for m in bench.broker.calls[-1] if id_of(m).startswith("jobs/a")]
        assert [json.loads(message.value)[0] for message in changed] == [[2]]
        assert {"schedule.added", "schedule.changed", "schedule.removed"} <= set(events(caplog))

    def test_wrong_file_changes_nothing_and_is_told_once(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        bench.path.write_text("[", "utf-8")

        bench.go(beat, 5.5)

        assert len(bench.broker.ids) == 5
        assert events(caplog).count("schedule.load_failed") == 1

    def test_missing_file_changes_nothing(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        bench.path.unlink()

        bench.go(beat, 2.5)

        assert len(bench.broker.ids) == 2

    def test_file_that_would_remove_all_is_refused(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})
        beat = bench.beat()
        bench.write({"id": "b"})

        bench.go(beat, 2.5)

        assert {id.partition("@")[0] for id in bench.broker.ids} == {"jobs/a"}
        failed = [r for r in caplog.records if getattr(r, "event", "") == "schedule.load_failed"]
        assert "--replace" in failed[0].getMessage()

    def test_replace_allows_it(self, bench: Bench) -> None:
        bench.write({"id": "a"})
        beat = bench.beat(replace=True)
        beat.step()
        bench.write()

        bench.go(beat, 2.5)

        assert bench.broker.ids == []

    def test_removed_schedule_is_not_tried_any_more(self, bench: Bench) -> None:
        bench.write({"id": "a"}, {"id": "bad", "queue": "forbidden"})
        bench.broker.answer = lambda message: (
            PermissionError("no rights") if message.queue == "forbidden" else None
        )
        beat = bench.beat()
        bench.go(beat, 1.5)
        bench.write({"id": "a"})
        bench.go(beat, 1)
        bench.broker.calls.clear()

        bench.go(beat, 10)

        assert all(id.startswith("jobs/a") for id in bench.broker.ids)

    def test_what_was_due_before_a_removal_is_sent(self, bench: Bench) -> None:
        bench.write({"id": "a"}, {"id": "b"})
        beat = bench.beat()
        beat.step()
        bench.clock.advance(1)
        bench.write({"id": "a"})

        beat.step()

        assert "jobs/b@2026-11-23T17:00:01Z" in bench.broker.ids


class TestStart:
    def test_no_file_is_refused(self, bench: Bench) -> None:
        with pytest.raises(UsageError, match="-s FILE"):
            Beat(bench.app, [], clock=bench.clock)

    @pytest.mark.parametrize("namespace", ["", "a/b", "a#b", "\n"])
    def test_wrong_namespace_is_refused(self, bench: Bench, namespace: str) -> None:
        with pytest.raises(UsageError, match="namespace"):
            bench.beat(namespace=namespace)

    def test_namespace_may_be_given(self, bench: Bench) -> None:
        bench.write({"id": "a"})

        bench.go(bench.beat(namespace="team"), 1.5)

        assert bench.broker.ids == ["team/a@2026-11-23T17:00:01Z"]

    def test_same_ids_in_two_files_do_not_meet(self, bench: Bench, tmp_path: Path) -> None:
        bench.write({"id": "a"})
        other = tmp_path / "other.json"
        other.write_bytes(bench.path.read_bytes())
        beat = Beat(bench.app, [str(bench.path), str(other)], clock=bench.clock)
        beat.start()

        bench.go(beat, 1.5)

        assert sorted(bench.broker.ids) == [
            "jobs/a@2026-11-23T17:00:01Z",
            "other/a@2026-11-23T17:00:01Z",
        ]

    def test_same_ids_in_one_namespace_are_refused(self, bench: Bench, tmp_path: Path) -> None:
        bench.write({"id": "a"})
        other = tmp_path / "other.json"
        other.write_bytes(bench.path.read_bytes())
        files = [str(bench.path), str(other)]

        with pytest.raises(ScheduleFileError, match="'team/a'"):
            Beat(bench.app, files, namespace="team", clock=bench.clock).start()

    def test_schedule_that_moves_to_another_file_is_taken_once_the_first_has_let_go(
        self, bench: Bench, tmp_path: Path
    ) -> None:
        other = tmp_path / "other.json"
        bench.write({"id": "stays"}, {"id": "moves"})
        other.write_text(json.dumps([{"id": "old", "cron": "* * * * * *", "task": "t"}]))
        files = [str(other), str(bench.path)]
        beat = Beat(bench.app, files, namespace="n", clock=bench.clock)
        beat.start()

        entries = [{"id": id, "cron": "* * * * * *", "task": "t"} for id in ("old", "moves")]
        other.write_text(json.dumps(entries))
        bench.write({"id": "stays"})
        bench.go(beat, 3)
        before = len(bench.broker.ids)
        bench.go(beat, 1)

        names = {id.partition("@")[0] for id in bench.broker.ids[before:]}
        assert names == {"n/old", "n/moves", "n/stays"}

    def test_queue_too_long_for_the_prefix_is_refused(self, bench: Bench) -> None:
        bench.app, _ = isolated_app(prefix="x" * 100)
        bench.app._brokers[os.getpid()] = bench.broker  # type: ignore[assignment]  # as above
        bench.write({"id": "a", "queue": "q" * 200})

        with pytest.raises(ScheduleFileError, match="cannot be sent"):
            bench.beat()

    def test_unknown_task_is_a_warning_with_the_nearest(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.app.task("invoice")(lambda: None)
        bench.write({"id": "a", "task": "invoce"}, {"id": "b", "task": "invoice"})

        bench.beat(check_tasks=True)

        told = [r for r in caplog.records if getattr(r, "event", "") == "schedule.unknown_task"]
        assert ["'invoice'" in r.getMessage() for r in told] == [True]


class TestClock:
    def run_for(self, bench: Bench, during_wait: Callable[[int], None]) -> None:
        """Run beat, calling `during_wait` in each wait with its number, until that stops it."""
        beat = Beat(bench.app, [str(bench.path)], clock=bench.clock)
        waits = iter(range(1000))

        def wait() -> None:
            number = next(waits)
            during_wait(number)
            if number == 10:
                beat.stop()

        bench.clock.during_wait = wait
        beat.run()

    def test_clock_set_forward_is_told_and_nothing_recent_is_lost(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a", "catch_up": "none"})

        def jump(number: int) -> None:
            if number == 3:
                bench.clock.shift = timedelta(seconds=30)

        self.run_for(bench, jump)

        assert "beat.clock_set" in events(caplog)
        assert len(bench.broker.ids) == len(set(bench.broker.ids)) == 10 + 30

    def test_clock_set_back_sends_nothing_twice(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a"})

        def jump(number: int) -> None:
            if number == 5:
                bench.clock.shift = timedelta(seconds=-3)

        self.run_for(bench, jump)

        assert "beat.clock_set" in events(caplog)
        assert len(bench.broker.ids) == len(set(bench.broker.ids))

    def test_beat_that_stood_still_leaves_it_to_catch_up(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.write({"id": "a", "catch_up": "none"})

        def freeze(number: int) -> None:
            if number == 3:
                bench.clock.advance(3600)

        self.run_for(bench, freeze)

        assert "beat.stood_still" in events(caplog)
        assert "occurrence.left_out" in events(caplog)
        assert 60 <= len(bench.broker.ids) <= 75


def test_stop_from_another_thread_ends_run(bench: Bench) -> None:
    bench.write({"id": "a"})
    clock = FakeClock()
    beat = Beat(bench.app, [str(bench.path)], clock=clock)
    thread = threading.Thread(target=beat.run)
    thread.start()
    clock.wait_for_sleeper()
    clock.advance(1)
    assert bench.broker.published.wait(5)

    beat.stop()
    thread.join(5)

    assert not thread.is_alive()
    assert bench.broker.ids == ["jobs/a@2026-11-23T17:00:01Z"]
