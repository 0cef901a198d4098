"""Retries with real workers on the real Kafka: the same task, not early, once each, and Kafka keeps what waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.letters.deadletters import DeadLetterView, read_dead_letter
from taskq.timing.timers import LOG
from tests.support.kafka import Kafka
from tests.support.ledger import Ledger
from tests.support.processes import Processes
from tests.support.proxy import Proxy
from tests.support.timed import Timed
from tests.support.waiting import wait_until


class Retries(Timed):
    """Tasks that fail, and what comes of them."""

    def send(self, task: str, *args: object) -> str:
        """Send a task and return its id."""
        return self.app.send_task(task, args).id

    def attempts(self, id: str) -> list[tuple[str, float]]:
        """Return the attempts of a task in their order, each with how late it was."""
        entries = [each for each in self.ledger.entries() if each.id == id]
        return [
            (each.event, float(each.detail))
            for each in entries
            if each.event.startswith("attempt-")
        ]

    def is_waiting(self, id: str) -> bool:
        """Return whether the broker has a timer of a task."""
        records = self.app.broker.logs.read(LOG, route=id.encode(), timeout=10)
        return any(record.value is not None for record in records)

    def letter(self, id: str) -> DeadLetterView:
        """Return the dead letter of a task, once it is there."""

        def look() -> DeadLetterView | None:
            admin = self.app.broker.admin
            letters = map(read_dead_letter, admin.dead_letters("main", timeout=10))
            return next((each for each in letters if each.id == id), None)

        found = wait_until(look, timeout=60, what=f"the dead letter of {id}")
        assert found is not None
        return found


@pytest.fixture
def retries(kafka: Kafka, processes: Processes, ledger: Ledger) -> Iterator[Retries]:
    retries = Retries("retries", kafka, processes, ledger)
    yield retries
    retries.close()


def test_a_task_is_retried_until_it_succeeds_or_has_no_retry_left(retries: Retries) -> None:
    worker = retries.worker()

    lucky, hopeless = retries.send("stumble", 2), retries.send("stumble", 3)
    at_once, put_back = retries.send("stumble", 1, 0), retries.send("put back", 3)

    letter = retries.letter(hopeless)
    retries.wait("ended", lucky)
    retries.wait("ended", at_once)
    for id in (lucky, hopeless):
        found = retries.attempts(id)
        assert [event for event, _ in found] == ["attempt-0", "attempt-1", "attempt-2"]
        assert all(lateness >= 0 for _, lateness in found)
    assert [event for event, _ in retries.attempts(at_once)] == ["attempt-0", "attempt-1"]
    assert (letter.reason, letter.attempts) == ("retries_exhausted", 3)
    assert letter.error == "ConnectionError: no answer to 2"
    assert [each.error for each in letter.earlier] == [
        "ConnectionError: no answer to 0",
        "ConnectionError: no answer to 1",
    ]
    assert letter.details["first-failed"] == letter.earlier[0].at
    assert "raise ConnectionError" in str(letter.traceback)
    worker.wait_for_line(rf"task put back\[{put_back}\] succeeded", timeout=60)
    handed = [each.detail for each in retries.ledger.entries("in-hand") if each.id == put_back]
    assert handed == ["False", "True", "True"]
    assert (
        f"task stumble[{lucky}] will be retried in 0.2 s (2 of 2): ConnectionError" in worker.text
    )
    assert worker.stop() == 0


def test_a_retry_outlives_the_worker_in_which_the_task_failed(retries: Retries) -> None:
    worker = retries.worker()
    # Seconds in which all have to fail and to be seen in Kafka before the first comes again.
    ids = [retries.send("stumble", 1, 12) for _ in range(5)]
    wait_until(
        lambda: all(retries.is_waiting(id) for id in ids), timeout=60, what="the retries in Kafka"
    )

    worker.kill_all()
    assert not any(id in retries.ledger.ids("attempt-1") for id in ids)
    retries.worker()

    for id in ids:
        retries.wait("ended", id)
        found = retries.attempts(id)
        assert [event for event, _ in found] == ["attempt-0", "attempt-1"]
        assert found[1][1] >= 0


def test_a_retry_is_written_when_the_broker_is_back(
    retries: Retries, proxied_kafka: Proxy, tmp_path: Path
) -> None:
    worker = retries.worker(TASKQ_BROKER=proxied_kafka.bootstrap)
    gate = tmp_path / "gate"
    id = retries.send("stumble", 1, 0.2, str(gate))
    retries.wait("attempt-0", id)
    proxied_kafka.refuse()
    gate.touch()
    worker.wait_for_line(rf"task stumble\[{id}\] will be retried", timeout=60)
    assert not retries.is_waiting(id)

    proxied_kafka.pass_everything()

    retries.wait("ended", id)
    found = retries.attempts(id)
    assert [event for event, _ in found] == ["attempt-0", "attempt-1"]
    assert found[1][1] >= 0
    assert worker.stop() == 0
