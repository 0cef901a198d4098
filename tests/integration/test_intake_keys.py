"""What an intake's thread does with tasks that have a key, with a channel and a pool that the test moves."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Any

import pytest

from taskq.clock import unix_ms
from taskq.message import read_headers
from taskq.protocols import Rebalance, Record
from taskq.running.runresult import FAILED, REQUEUED, RETRIED, Result
from taskq.timing.revocation import revoked_write
from taskq.timing.timers import LOG, due_ms
from taskq.worker.delivery import Delivery
from tests.integration.test_intake import Stage
from tests.support.fake_logs import StoredRecord
from tests.support.pools import PlainRecord, record_of
from tests.support.waiting import wait_until


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage(slots=3).start()
    yield stage
    stage.stop()


def keyed(key: str, task: str = "a", **more: Any) -> PlainRecord:
    return record_of(task, key=key.encode(), **more)


def started(stage: Stage) -> list[Record]:
    return [delivery.record for delivery in stage.pool.started]


def end(stage: Stage, delivery: Delivery, kind: int, *, after: float = 0.0) -> None:
    """End a run that is to be repeated after some seconds."""
    due = due_ms(stage.clock.now() + timedelta(seconds=after)) if after else 0
    result: Result = (kind, 0.1, None, (due, "E: no", "trace"))
    stage.pool.held.remove(delivery)
    stage.dispatcher.on_results(delivery.lane, [(delivery, result)])


def retry(stage: Stage, delivery: Delivery, *, after: float = 0.0) -> None:
    end(stage, delivery, RETRIED, after=after)


def test_of_a_key_one_runs_at_a_time_and_others_pass(stage: Stage) -> None:
    first, second, other = keyed("x"), keyed("x"), keyed("y")

    stage.channel.put(first, second, other)
    stage.pool.wait_started(2)

    assert started(stage) == [first, other]
    stage.pool.end(stage.pool.started[0])
    stage.pool.wait_started(3)
    assert started(stage)[2] is second
    assert stage.channel.claimed == [each.delivery_tag for each in (first, other, second)]


def test_a_record_that_comes_while_a_key_is_waited_for_starts(stage: Stage) -> None:
    stage.channel.put(keyed("x"), keyed("x"))
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand == 1, timeout=5, what="the second in hand")

    stage.channel.put(other := record_of("a"))
    stage.pool.wait_started(2)

    assert started(stage)[1] is other


def test_a_retry_runs_in_its_place_before_the_next_of_its_key(stage: Stage) -> None:
    first, second = keyed("x"), keyed("x")
    stage.channel.put(first, second)
    stage.pool.wait_started(1)

    retry(stage, stage.pool.held[0])
    stage.pool.wait_started(2)

    again = stage.pool.started[1]
    assert (again.record.offset, again.envelope.retries) == (first.offset, 1)
    assert stage.channel.claimed == [first.delivery_tag], "it was claimed before"
    stage.pool.end(again)
    stage.pool.wait_started(3)
    assert started(stage)[2] is second
    assert not stage.logs.written


def test_what_puts_itself_back_stays_in_its_place_too(stage: Stage) -> None:
    stage.channel.put(keyed("x"), keyed("x"))
    stage.pool.wait_started(1)

    end(stage, stage.pool.held[0], REQUEUED)
    stage.pool.wait_started(2)

    assert stage.pool.started[1].envelope.headers["taskq-requeued"] == "1"


def test_a_retry_with_a_wait_is_never_early_and_others_go_on(stage: Stage) -> None:
    stage.channel.put(keyed("x"), keyed("x"))
    stage.pool.wait_started(1)
    retry(stage, stage.pool.held[0], after=3600)

    stage.channel.put(other := keyed("y"))
    stage.pool.wait_started(2)
    assert started(stage)[1] is other

    stage.clock.pushed += 3601
    stage.pool.wait_started(3)
    assert stage.pool.started[2].envelope.retries == 1


def test_the_last_failure_lets_the_next_of_its_key_go_on(stage: Stage) -> None:
    stage.channel.put(keyed("x"), second := keyed("x"))
    stage.pool.wait_started(1)

    stage.pool.end(stage.pool.held[0], error="E")
    stage.pool.wait_started(2)

    assert started(stage)[1] is second


def test_what_settles_late_is_settled_after_its_last_run(stage: Stage) -> None:
    first = keyed("x", "late")
    stage.channel.put(first, keyed("x", "late"))
    stage.pool.wait_started(1)
    retry(stage, stage.pool.held[0])
    stage.pool.wait_started(2)
    assert not stage.channel.settled

    stage.pool.end(stage.pool.held[0])
    stage.channel.wait(lambda: stage.channel.settled)

    assert stage.channel.settled == [first.delivery_tag]
    assert stage.channel.started[0] == first.delivery_tag


def test_what_its_process_died_with_comes_again_before_the_next_of_its_key(stage: Stage) -> None:
    first, second = keyed("x", "late"), keyed("x", "late")
    stage.channel.put(first, second)
    stage.pool.wait_started(1)
    wait_until(lambda: stage.intake.in_hand == 1, timeout=5, what="the second in hand")

    died: Result = (FAILED, 0.1, None, ("worker_died", "was killed", "", []))
    delivery = stage.pool.held.pop()
    stage.dispatcher.on_results(delivery.lane, [(delivery, died)])
    stage.pool.wait_started(2)

    assert started(stage) == [first, first]


def test_what_comes_while_a_process_dies_does_not_pass_what_it_died_with(stage: Stage) -> None:
    first, second = keyed("x", "late"), keyed("x", "late")
    stage.channel.put(first)
    stage.pool.wait_started(1)

    died: Result = (FAILED, 0.1, None, ("worker_died", "was killed", "", []))
    delivery = stage.pool.held.pop()
    with (
        stage.channel.change
    ):  # the fetch that is under way brings the second before the first is given back
        stage.dispatcher.on_results(delivery.lane, [(delivery, died)])
        stage.channel.put(second)
    stage.pool.wait_started(2)

    assert started(stage) == [first, first]


def test_what_a_claim_refuses_comes_again_before_the_next_of_its_key(stage: Stage) -> None:
    first, second = keyed("x"), keyed("x")
    refusals = [first.delivery_tag]

    def refuse(tags: object) -> set[int]:
        if not refusals:
            return set()
        stage.channel.put(first)
        return {refusals.pop()}

    stage.channel.refuses = refuse
    stage.channel.put(first, second)
    stage.pool.wait_started(1)

    assert started(stage) == [first]


def test_a_queue_whose_hand_is_full_of_a_key_waits_and_names_it_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.put(*(keyed("hot") for _ in range(1200)))
    stage.pool.wait_started(1)
    stage.channel.wait(lambda: stage.channel.is_paused)
    stage.pool.end(stage.pool.held[0])
    stage.pool.wait_started(2)

    [said] = [r for r in caplog.records if getattr(r, "event", "") == "intake.key_busy"]
    assert "'hot'" in said.getMessage()
    assert stage.intake.in_hand <= 1000


@pytest.fixture
def two_partitions() -> Iterator[Stage]:
    stage = Stage(slots=3)
    stage.channel.partitions = (0, 1)
    stage.channel.rebalance(Rebalance("assigned", (0, 1)))
    yield stage.start()
    stage.stop()


def crowd(stage: Stage, count: int = 1200) -> None:
    """Let the hand be filled with a key of partition 0, one of which is at work, and wait until that partition is stopped."""
    stage.channel.put(*(keyed("hot", partition=0) for _ in range(count)))
    stage.channel.wait(lambda: stage.channel.passed_over == {0})


def said(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if getattr(r, "event", "") == event]


def test_a_hand_that_is_full_of_a_key_stops_its_partition_and_another_goes_on(
    two_partitions: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage = two_partitions
    crowd(stage)

    stage.channel.put(other := keyed("cold", partition=1))
    stage.pool.wait_started(2)

    assert started(stage)[1] is other
    [line] = said(caplog, "intake.partition_crowded")
    assert "partition 0 waits with 1000 tasks" in line
    assert "'hot'" in line
    assert not said(caplog, "intake.key_busy")


def test_what_is_too_much_of_stopped_partitions_is_given_back() -> None:
    stage = Stage(slots=64)
    stage.channel.partitions = tuple(range(6))
    stage.channel.rebalance(Rebalance("assigned", stage.channel.partitions))
    hot = [keyed(f"hot{place}", partition=place) for place in range(6) for _ in range(1100)]

    stage.channel.put(*hot)
    stage.start()
    stage.channel.wait(lambda: len(stage.channel.passed_over) == 6, timeout=20)

    kept = 6 * (4000 // 6)
    given_back = len(hot) - kept - 6
    stage.channel.wait(lambda: len(stage.channel.waiting) == given_back)
    assert (stage.intake.in_hand, len(stage.pool.started)) == (kept, 6)
    stage.stop()


def test_a_stopped_partition_goes_on_in_its_order_when_half_of_it_is_done(
    two_partitions: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage = two_partitions
    caplog.set_level(logging.INFO, logger="taskq")
    crowd(stage)

    for count in range(1, 1200):
        stage.pool.end(stage.pool.held[0])
        stage.pool.wait_started(count + 1)

    offsets = [record.offset for record in started(stage)]
    assert offsets == sorted(set(offsets))
    stage.channel.wait(lambda: stage.channel.passed_over == set())
    stage.clock.pushed += 3600
    wait_until(lambda: said(caplog, "intake.partition_eased"), timeout=5, what="the line")
    assert len(said(caplog, "intake.partition_crowded")) == 1


def test_a_partition_that_comes_back_is_not_stopped(two_partitions: Stage) -> None:
    stage = two_partitions
    crowd(stage)
    calls = len(stage.channel.calls)

    stage.channel.rebalance(Rebalance("lost", (0,)))
    stage.channel.rebalance(Rebalance("assigned", (0,)))
    stage.channel.wait(lambda: stage.channel.passed_over == set())
    stage.pool.end(stage.pool.held[0])
    stage.pool.wait_started(2)

    assert "pass_over" not in stage.channel.calls[calls:], "the channel forgets it by itself"


def test_a_revoked_task_is_not_run_again(stage: Stage) -> None:
    stage.channel.put(keyed("x", id="gone"), second := keyed("x"))
    stage.pool.wait_started(1)
    retry(stage, stage.pool.held[0], after=3600)
    write = revoked_write("gone", stage.clock.now())
    now_ms = unix_ms(stage.clock)
    stage.revoked.apply(StoredRecord(write.key, write.value, timestamp_ms=now_ms), now_ms)

    stage.clock.pushed += 3601
    stage.pool.wait_started(2)

    assert started(stage)[1] is second


def test_a_stop_runs_what_is_due_soon_and_hands_the_rest_to_the_timers(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.put(keyed("soon"), keyed("later", id="later"))
    stage.pool.wait_started(2)
    soon, later = stage.pool.held
    retry(stage, later, after=3600)
    retry(stage, soon, after=0.3)

    stage.intake.stop()
    stage.pool.wait_started(3)
    wait_until(lambda: stage.logs.written, timeout=5, what="the timer")
    assert stage.intake.is_running, "the other one's key is at work"
    stage.pool.end(stage.pool.held[0])
    wait_until(lambda: not stage.intake.is_running, timeout=5, what="the end")

    [write] = stage.logs.written
    assert (write.log, write.route) == (LOG, b"later")
    [said] = [r for r in caplog.records if getattr(r, "event", "") == "task.order_ended"]
    assert "'later'" in said.getMessage()


def test_a_stop_gives_back_what_settles_late_and_is_held(stage: Stage) -> None:
    first = keyed("x", "late")
    stage.channel.put(first)
    stage.pool.wait_started(1)
    retry(stage, stage.pool.held[0], after=3600)

    stage.intake.stop()
    wait_until(lambda: not stage.intake.is_running, timeout=5, what="the end")

    assert "release" in stage.channel.calls
    assert not stage.channel.settled
    assert not stage.logs.written


def test_a_stop_waits_for_a_key_at_work(stage: Stage) -> None:
    stage.channel.put(keyed("x"))
    stage.pool.wait_started(1)

    stage.intake.stop()
    stage.channel.wait(lambda: stage.channel.is_paused)
    assert stage.intake.holds_late
    stage.pool.end(stage.pool.held[0])
    wait_until(lambda: not stage.intake.is_running, timeout=5, what="the end")

    assert stage.channel.is_closed


def test_partitions_that_go_wait_for_a_key_at_work(stage: Stage) -> None:
    stage.channel.put(keyed("x"))
    stage.pool.wait_started(1)

    before_revoke, at_work = stage.channel._before_revoke, list[int]()

    def revoke(partitions: Collection[int]) -> None:
        ending = threading.Timer(0.1, lambda: stage.pool.end(stage.pool.held[0]))
        ending.start()
        before_revoke(partitions)
        at_work.append(len(stage.pool.held))
        ending.join()

    stage.channel._before_revoke = revoke
    stage.channel.rebalance(Rebalance("revoked", (0,)))
    wait_until(lambda: at_work, timeout=5, what="the rebalance")

    assert at_work == [0]


def test_a_retry_of_a_partition_that_has_gone_runs_here_and_the_log_says_that_order_ends(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.channel.put(keyed("x"))
    stage.pool.wait_started(1)
    retry(stage, stage.pool.held[0], after=3600)

    stage.channel.rebalance(Rebalance("revoked", (0,)))
    wait_until(
        lambda: any(getattr(r, "event", "") == "task.order_ended" for r in caplog.records),
        timeout=5,
        what="the line",
    )
    stage.clock.pushed += 3601
    stage.pool.wait_started(2)

    assert stage.pool.started[1].envelope.retries == 1


def test_a_late_retry_of_a_partition_that_has_gone_does_not_run_here(stage: Stage) -> None:
    stage.channel.put(keyed("x", "late"))
    stage.pool.wait_started(1)
    retry(stage, stage.pool.held[0], after=3600)

    stage.channel.rebalance(Rebalance("revoked", (0,)))
    wait_until(lambda: not stage.intake.holds_late, timeout=5, what="the key to be free")
    stage.clock.pushed += 3601
    stage.channel.put(other := record_of("a"))
    stage.pool.wait_started(2)

    assert started(stage)[1] is other


def test_a_run_that_ends_after_its_intake_is_retried_among_the_timers(stage: Stage) -> None:
    stage.channel.put(keyed("x"))
    stage.pool.wait_started(1)
    stage.intake.stop()
    stage.intake.let_go()
    wait_until(lambda: not stage.intake.is_running, timeout=5, what="the end")

    retry(stage, stage.pool.held[0], after=3600)
    wait_until(lambda: stage.logs.written, timeout=5, what="the timer")


def test_more_partitions_end_the_order_and_the_log_says_so(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    counts = iter([{"q": 4}, {"q": 6}])
    admin: Any = stage.broker.admin
    admin.partition_counts = lambda queues, *, timeout: next(counts)
    stage.channel.put(keyed("x"))
    stage.pool.wait_started(1)
    stage.pool.end(stage.pool.held[0])

    stage.channel.rebalance(Rebalance("assigned", (4, 5)))
    wait_until(
        lambda: any(getattr(r, "event", "") == "intake.partitions_added" for r in caplog.records),
        timeout=5,
        what="the warning",
    )


def test_the_record_of_a_retry_can_be_read(stage: Stage) -> None:
    stage.channel.put(keyed("x"))
    stage.pool.wait_started(1)
    retry(stage, stage.pool.held[0])
    stage.pool.wait_started(2)

    assert read_headers(stage.pool.started[1].record).retries == 1
