"""Tasks that wait, with real workers on the real Kafka: they run after their time, soon, once, and outlive who kept it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from taskq.clock import SystemClock
from taskq.errors import PublishFailed
from tests.support.kafka import Kafka
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.scene import START_SECONDS
from tests.support.timed import Timed

OPENED = r"this process owns the partitions"


class Delays(Timed):
    """Tasks that write down how late they are."""

    def send(self, **options: object) -> str:
        """Send a task that writes down how late it is."""
        return self.app.send_task("act", ("lateness",), **options).id  # type: ignore[arg-type]

    def lateness(self, id: str) -> float:
        """Return how late a task ran, in seconds, once it has."""
        self.wait("late", id)
        (entry,) = [each for each in self.ledger.entries("late") if each.id == id]
        return float(entry.detail)


@pytest.fixture
def delays(kafka: Kafka, processes: Processes, ledger: Ledger) -> Iterator[Delays]:
    delays = Delays("delays", kafka, processes, ledger)
    yield delays
    delays.close()


def test_a_task_runs_when_its_countdown_is_over_and_not_before(delays: Delays) -> None:
    worker = delays.worker()
    worker.wait_for_line(OPENED, timeout=START_SECONDS)

    ids = [delays.send(countdown=seconds) for seconds in (0.001, 0.1, 0.5, 2)]

    assert all(delays.lateness(id) >= 0 for id in ids)
    assert len(delays.ledger.ids("late")) == len(ids)


def test_an_eta_in_the_past_runs_at_once_also_where_nobody_keeps_the_time(delays: Delays) -> None:
    delays.worker("--no-timers")

    id = delays.send(eta=SystemClock().now() - timedelta(hours=1))

    assert delays.lateness(id) >= 3600


def test_a_worker_that_keeps_no_time_leaves_what_waits_to_one_that_does(delays: Delays) -> None:
    delays.worker("--no-timers")
    id = delays.send(countdown=0.1)
    direct = delays.send()
    assert delays.lateness(direct) == 0
    assert delays.ledger.ids("late") == [direct]

    delays.worker()

    assert delays.lateness(id) >= 0


def test_what_waits_outlives_the_worker_that_kept_its_time(delays: Delays) -> None:
    keeper = delays.worker()
    keeper.wait_for_line(OPENED, timeout=START_SECONDS)
    delays.worker("--no-timers")
    ids = [delays.send(countdown=3 + number / 10) for number in range(10)]
    keeper.kill()

    delays.worker()

    assert all(delays.lateness(id) >= 0 for id in ids)
    assert len(delays.ledger.ids("late")) == len(ids)


def test_timers_that_would_lose_tasks_stop_who_would_use_them_before_anything_is_accepted(
    delays: Delays, kafka: Kafka
) -> None:
    kafka.create_topic(f"{delays.prefix}taskq.timers", config={"cleanup.policy": "delete"})

    keeper = delays.start("worker", "-A", "tests.support.scene_tasks")

    assert keeper.wait(timeout=START_SECONDS) == 2
    assert "change it: kafka-configs.sh" in keeper.text
    assert "--no-timers" in keeper.text
    assert "Traceback" not in keeper.text
    with pytest.raises(PublishFailed, match="change it: kafka-configs") as caught:
        delays.send(countdown=60)
    assert not caught.value.maybe_sent
    delays.worker("--no-timers")
    assert delays.lateness(delays.send()) == 0


def test_a_task_that_expires_while_it_waits_does_not_run(delays: Delays) -> None:
    worker = delays.worker()

    id = delays.send(countdown=0.5, expires=0.2)

    worker.wait_for_line(rf"task act\[{id}\] expired", timeout=60)
    assert delays.ledger.entries() == []
