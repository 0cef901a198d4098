"""A worker is asked to end, in every way that terminals, service managers and impatient people have, also while the broker is away.

The first SIGTERM or SIGINT lets it finish what it has and leaves the rest to others; the second, and SIGQUIT, end it at once. What
was claimed and did not finish is named. No process is left behind.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import Kafka
from tests.support.ledger import Ledger
from tests.support.processes import Process, Processes, send_signal
from tests.support.proxy import Proxy
from tests.support.scene import START_SECONDS, Scene

POOLS = ("prefork", "threads", "asyncio", "solo")
STOPPING = "stopping: takes no more"

AT_ONCE = 20.0
"""Seconds for an end that does not wait for the task: less than the grace, with room for a busy machine."""


def signal_and_wait_until_seen(worker: Process, number: int) -> None:
    """Send the first signal and wait until the worker has said that it stops."""
    worker.signal(number)
    worker.wait_for_line(STOPPING)


def lost(worker: Process) -> list[str]:
    """Return the ids of the tasks that a worker named as lost."""
    return re.findall(r"ERROR worker: lost: .*act\[(\S+)\]", worker.text)


@pytest.mark.parametrize(
    ("pool", "number"),
    [*((pool, signal.SIGTERM) for pool in POOLS), ("prefork", signal.SIGINT)],
)
def test_first_signal_lets_it_finish_what_it_has_and_no_more(
    kafka: Kafka, scene: Scene, pool: str, number: int
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker("-P", pool)
    running = scene.hold(scene.gate())
    waiting = scene.send_many(5)

    signal_and_wait_until_seen(worker, number)
    assert worker.is_running
    scene.gate().touch()

    assert worker.wait() == 0
    assert scene.ledger.ids("ended") == [running.id]
    assert scene.never_ran() == set(waiting)
    assert lost(worker) == []
    worker.wait_gone()


def test_backlog_goes_to_another_worker_while_the_first_one_drains(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    first = scene.ready_worker()
    running = scene.hold(scene.gate())
    other = scene.ready_worker()
    waiting = scene.send_many(10)

    signal_and_wait_until_seen(first, signal.SIGTERM)
    scene.wait_ended(*waiting)

    assert not scene.gate().exists()
    scene.gate().touch()
    assert first.wait() == other.stop() == 0
    assert scene.ledger.ids("ended")[-1] == running.id
    assert scene.ran_twice() == {}


@pytest.mark.parametrize("pool", POOLS)
def test_end_of_the_grace_names_what_is_lost(kafka: Kafka, scene: Scene, pool: str) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker("-P", pool, "--grace", "0.5")
    running = scene.hold(scene.gate())
    waiting = scene.send_many(3)

    worker.signal(signal.SIGTERM)

    assert worker.wait() == 1
    assert lost(worker) == [running.id]
    assert scene.never_ran() == set(waiting)
    worker.wait_gone()


@pytest.mark.parametrize(
    ("pool", "first", "second"),
    [
        *((pool, signal.SIGTERM, signal.SIGTERM) for pool in POOLS),
        ("prefork", signal.SIGINT, signal.SIGINT),
        ("prefork", signal.SIGTERM, signal.SIGINT),
    ],
)
def test_second_signal_ends_it_at_once(
    kafka: Kafka, scene: Scene, pool: str, first: int, second: int
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker("-P", pool)
    running = scene.hold(scene.gate())

    signal_and_wait_until_seen(worker, first)
    worker.signal_again(second)

    assert worker.wait(timeout=AT_ONCE) == 128 + second
    assert lost(worker) == [running.id]
    worker.wait_gone()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_sigquit_ends_it_at_once(kafka: Kafka, scene: Scene, pool: str) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker("-P", pool)
    running = scene.hold(scene.gate())

    worker.signal(signal.SIGQUIT)

    assert worker.wait(timeout=AT_ONCE) == 128 + signal.SIGQUIT
    assert lost(worker) == [running.id]
    worker.wait_gone()


def test_sigquit_to_all_its_processes_ends_it_without_a_traceback(
    kafka: Kafka, scene: Scene
) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker("-P", "prefork")

    # A terminal's Ctrl-\ goes to all of them in any order; the others before the worker is the one that matters.
    for pid in worker.descendants():
        os.kill(pid, signal.SIGQUIT)
    worker.signal(signal.SIGQUIT)

    assert worker.wait(timeout=AT_ONCE) == 128 + signal.SIGQUIT
    worker.wait_gone()
    assert "Traceback" not in worker.text
    assert "died unexpectedly" not in worker.text  # the helper that keeps the names of locks


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_all_its_processes_lets_it_finish(
    kafka: Kafka, scene: Scene, number: int
) -> None:
    kafka.create_topic(scene.queue, partitions=2)
    worker = scene.ready_worker(slots=2)
    running = [scene.hold(scene.gate()) for _ in range(2)]

    # As a terminal does for Ctrl-C (the process group), and systemd at a stop (the control group).
    assert {os.getpgid(pid) for pid in worker.family()} == {worker.pid}
    send_signal(worker.family(), number)
    worker.wait_for_line(STOPPING)
    scene.gate().touch()

    assert worker.wait() == 0
    assert sorted(scene.ledger.ids("ended")) == sorted(entry.id for entry in running)
    assert lost(worker) == []
    assert "Traceback" not in worker.text
    worker.wait_gone()


def test_task_that_fails_while_it_drains_becomes_a_dead_letter(kafka: Kafka, scene: Scene) -> None:
    kafka.create_topic(scene.queue, partitions=1)
    worker = scene.ready_worker()
    running = scene.hold(scene.gate())

    signal_and_wait_until_seen(worker, signal.SIGTERM)
    os.kill(running.pid, signal.SIGKILL)

    assert worker.wait() == 0
    assert scene.letters()[running.id].reason == "worker_died"


def test_stop_while_it_starts_ends_it(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW_IN_CHILDREN)
    worker = scene.worker(app="slow", cwd=tmp_path)
    scene.ledger.wait_for(1, event="importing", timeout=START_SECONDS)

    worker.signal(signal.SIGTERM)

    assert worker.wait(timeout=AT_ONCE) == 0
    worker.wait_gone()


SLOW_IN_CHILDREN = """
from tests.support.scene_tasks import app
import os, threading

@app.on("worker_process_init")
def wait_for_ever():
    from tests.support.ledger import Ledger
    Ledger(os.environ["TEST_LEDGER"]).write("-", "importing")
    threading.Event().wait()
"""


# The broker goes away


@pytest.fixture
def own_scene(
    own_kafka: Kafka, processes: Processes, ledger: Ledger, queue: str, group: str
) -> Iterator[Scene]:
    """A scene on a broker that may be killed."""
    with Scene(own_kafka, processes, ledger, queue=queue, group=group) as scene:
        yield scene


def test_stop_while_the_broker_is_gone_keeps_to_the_grace(own_scene: Scene) -> None:
    own_scene.kafka.create_topic(own_scene.queue, partitions=2)
    workers = [own_scene.ready_worker("--grace", "6") for _ in range(2)]
    running = own_scene.hold(own_scene.gate())  # one of them is busy, the other is not
    own_scene.kafka.kill()

    for worker in workers:
        signal_and_wait_until_seen(worker, signal.SIGTERM)
    own_scene.gate().touch()
    codes = [worker.wait(timeout=6 + 20) for worker in workers]

    assert codes == [0, 0]
    assert own_scene.ledger.ids("ended") == [running.id]
    for worker in workers:
        assert lost(worker) == []
        assert "Traceback" not in worker.text
        worker.wait_gone()


def test_failure_that_cannot_be_written_is_named_at_the_end_of_the_grace(own_scene: Scene) -> None:
    own_scene.kafka.create_topic(own_scene.queue, partitions=1)
    worker = own_scene.ready_worker("--grace", "3")
    running = own_scene.hold(own_scene.gate())
    own_scene.kafka.kill()

    os.kill(running.pid, signal.SIGKILL)
    worker.wait_for_line("was killed by signal")
    worker.signal(signal.SIGTERM)

    assert worker.wait(timeout=3 + 20) == 1
    assert re.search(rf"lost: the dead letter of .*{running.id}.* was not written", worker.text)
    worker.wait_gone()


def test_claim_without_an_answer_is_given_up_within_the_grace(
    proxied_kafka: Proxy, scene: Scene
) -> None:
    scene.kafka.create_topic(scene.queue, partitions=1)
    # Who keeps the time of waiting tasks commits, too, when it pleases: what is waited for has to be the claim.
    worker = scene.ready_worker("--no-timers", "--grace", "3", "-b", proxied_kafka.bootstrap)
    proxied_kafka.drop_requests(OFFSET_COMMIT)
    claimed = scene.send()
    proxied_kafka.wait_for(OFFSET_COMMIT)

    worker.signal(signal.SIGTERM)

    assert worker.wait(timeout=3 + 20) == 1
    assert lost(worker) == [claimed]
    assert "its claim got no answer" in worker.text
    assert scene.never_ran() == {claimed}
    worker.wait_gone()


OFFSET_COMMIT = 8
"""Kafka protocol guide, "API Keys"."""


@pytest.mark.parametrize("way", ["killed", "stopped"])
def test_worker_goes_on_after_an_outage(own_scene: Scene, way: str) -> None:
    scene, kafka = own_scene, own_scene.kafka
    kafka.create_topic(scene.queue, partitions=4)
    worker = scene.ready_worker(slots=2)
    scene.wait_ended(*scene.send_many(20))
    running = scene.hold(scene.gate())
    before = scene.send_many(20)

    kafka.kill() if way == "killed" else kafka.stop()
    worker.wait_for_line("WARNING")
    scene.gate().touch()
    scene.wait_ended(running.id)
    kafka.start()

    scene.wait_ended(*before, *scene.send_many(20), timeout=60)
    assert worker.stop() == 0
    assert scene.never_ran() == set()
    assert scene.ran_twice() == {}
    assert "Traceback" not in worker.text
    assert len(re.findall("WARNING|ERROR", worker.text)) < 20
    worker.wait_gone()
