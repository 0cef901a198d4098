"""`taskq worker --health`: what a cluster's probes see of a worker that starts, works, is cut off, stops."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.support.frames import ApiKey
from tests.support.kafka import Kafka
from tests.support.ledger import Ledger
from tests.support.probing import Probe, Seen
from tests.support.processes import Processes
from tests.support.proxy import Proxy
from tests.support.scene import START_SECONDS, Scene
from tests.support.waiting import wait_until

NewProbe = Callable[..., Probe]


@pytest.fixture
def new_probe() -> Iterator[NewProbe]:
    """Makes probes, each with a port of its own."""
    with contextlib.ExitStack() as stack:

        def new_probe(host: str = "127.0.0.1") -> Probe:
            return stack.enter_context(contextlib.closing(Probe(host)))

        yield new_probe


@pytest.fixture
def probe(new_probe: NewProbe) -> Probe:
    return new_probe()


@pytest.fixture
def own_scene(
    own_kafka: Kafka, processes: Processes, ledger: Ledger, queue: str, group: str
) -> Iterator[Scene]:
    """A scene on a broker that may be frozen."""
    with Scene(own_kafka, processes, ledger, queue=queue, group=group) as scene:
        yield scene


def test_a_worker_that_works_is_alive_and_ready(scene: Scene, probe: Probe) -> None:
    scene.ready_worker("--health", probe.place)

    # The line waits for the group for some seconds only.
    assert probe.wait_for("/readyz", 200) == Seen(200, "ready\n")
    assert probe.get("/healthz") == Seen(200, "alive\n")
    assert probe.get("/readyz?verbose", "HEAD") == Seen(200, "")
    assert probe.get("/") == Seen(404, "there are /healthz, /readyz and /metrics\n")


def test_a_worker_tells_its_metrics(scene: Scene, probe: Probe) -> None:
    scene.ready_worker("--health", probe.place)
    gate = scene.gate()
    scene.wait_ended(scene.send(), scene.send())
    scene.wait_letters(scene.send("fail", "no luck"), scene.send_task("nobody"))
    scene.hold(gate)

    def look() -> bool:
        # A result is counted shortly after its task has noted its end.
        lines = set(probe.get("/metrics").text.splitlines())
        return lines >= {
            "# TYPE taskq_tasks_ended_total counter",
            "taskq_slots 1",
            "taskq_slots_busy 1",
            "taskq_tasks_unfinished 1",
            'taskq_tasks_ended_total{task="act",outcome="succeeded"} 2',
            'taskq_tasks_ended_total{task="act",outcome="failed"} 1',
            f'taskq_dead_letters_total{{queue="{scene.queue}",reason="failed"}} 1',
            f'taskq_dead_letters_total{{queue="{scene.queue}",reason="unknown_task"}} 1',
            f'taskq_queue_joined{{queue="{scene.queue}"}} 1',
            f'taskq_queue_claimed_total{{queue="{scene.queue}"}} 4',
            f'taskq_queue_lag{{queue="{scene.queue}"}} 0',
        }

    wait_until(look, timeout=30, what="the metrics")
    gate.touch()


def test_a_worker_that_finishes_its_last_task_is_alive_and_not_ready(
    scene: Scene, probe: Probe
) -> None:
    worker = scene.ready_worker("--health", probe.place)
    gate = scene.gate()
    scene.hold(gate)

    worker.signal(signal.SIGTERM)

    assert probe.wait_for("/readyz", 503) == Seen(503, "stopping\n")
    assert probe.get("/healthz").status == 200
    gate.touch()
    assert worker.wait() == 0


def test_a_worker_that_looks_for_its_broker_is_alive_and_not_ready(
    processes: Processes, probe: Probe
) -> None:
    where = ("-b", "127.0.0.1:1", "--health", probe.place)

    processes.taskq(
        "worker", "-A", "tests.support.pool_tasks", *where, env={"TASKQ_CONNECT_TIMEOUT": "60"}
    )

    assert probe.wait_for("/readyz", 503) == Seen(503, "starting\n")
    assert probe.get("/healthz").status == 200


def test_a_frozen_broker_is_no_reason_to_start_a_worker_anew(
    own_scene: Scene, probe: Probe
) -> None:
    worker = own_scene.ready_worker("--health", probe.place)
    probe.wait_for("/readyz", 200)

    own_scene.kafka.freeze()
    worker.wait_for_line("Timed out", timeout=START_SECONDS)

    assert probe.get("/healthz") == Seen(200, "alive\n")
    assert probe.get("/readyz") == Seen(200, "ready\n")
    own_scene.kafka.thaw()
    own_scene.wait_ended(own_scene.send(), timeout=60)
    assert worker.stop() == 0


def test_a_claim_without_an_answer_is_no_reason_to_start_a_worker_anew(
    proxied_kafka: Proxy, scene: Scene, probe: Probe
) -> None:
    scene.ready_worker("--health", probe.place, "-b", proxied_kafka.bootstrap)
    with proxied_kafka.hold_answers(ApiKey.OFFSET_COMMIT):
        id = scene.send()

        waits = f"queue {scene.queue} waits for the broker: a claim of 1 record\n"
        wait_until(lambda: probe.get("/healthz") == Seen(200, waits), timeout=30, what="the claim")
        assert not scene.started(id)

    scene.wait_ended(id)
    alive = Seen(200, "alive\n")
    wait_until(lambda: probe.get("/healthz") == alive, timeout=30, what="the end of the claim")


def test_a_worker_without_a_partition_is_ready_when_it_knows(
    scene: Scene, new_probe: NewProbe
) -> None:
    probes = [new_probe(), new_probe()]
    env = {"TASKQ_PARTITIONS": "1"}

    for probe in probes:
        scene.worker("--health", probe.place, env=env)

    for probe in probes:
        probe.wait_for("/readyz", 200)
    assert probe.get("/healthz").status == 200


def test_probes_are_answered_over_ipv6(processes: Processes, new_probe: NewProbe) -> None:
    try:
        with socket.socket(socket.AF_INET6) as there:
            there.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 on this machine: {error}")
    probe = new_probe("::1")

    processes.taskq(
        "worker", "-A", "tests.support.pool_tasks", "-b", "127.0.0.1:1", "--health", probe.place
    )

    assert probe.wait_for("/healthz", 200).text == "alive\n"


def test_a_port_in_use_is_one_line(processes: Processes, probe: Probe) -> None:
    host, _, port = probe.place.partition(":")
    with socket.create_server((host, int(port))):
        worker = processes.taskq(
            "worker", "-A", "tests.support.pool_tasks", "-b", "127.0.0.1:1", "--health", probe.place
        )

        assert worker.wait() == 2

    assert worker.text.count("\n") == 1
    assert f"--health {probe.place}: cannot listen there" in worker.text
    assert "in use" in worker.text


def test_a_place_that_is_none_is_one_line(processes: Processes) -> None:
    worker = processes.taskq("worker", "--health", "8080")

    assert worker.wait() == 2
    assert worker.text.count("\n") == 1
    assert "must be HOST:PORT" in worker.text
