"""Where the distribution is installed, kombu and Celery know `taskq://` without an import."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest


def printed(code: str, folder: Path) -> str:
    """Run code in a folder where nothing of ours lies, and return what it printed."""
    try:
        distribution("taskq-kafka")
    except PackageNotFoundError:
        pytest.skip("the distribution is not installed, so it has no entry points")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_celery_knows_the_url(tmp_path: Path) -> None:
    code = (
        "import celery, sys; app = celery.Celery(broker='taskq://localhost:9092'); "
        "print(type(app.connection().transport).__module__)"
    )

    assert printed(code, tmp_path) == "taskq_kafka.transport"


def test_kombu_knows_the_url_once_its_messaging_is_imported(tmp_path: Path) -> None:
    code = (
        "from kombu import Connection, Producer; "
        "print(type(Connection('taskqs://localhost:9092').transport).__module__)"
    )

    assert printed(code, tmp_path) == "taskq_kafka.transport"


@pytest.mark.parametrize("order", ["kombu, taskq_kafka", "taskq_kafka, kombu"])
def test_an_import_makes_the_url_known_before_and_after_kombus(order: str, tmp_path: Path) -> None:
    code = (
        f"import {order}; "
        "print(type(kombu.Connection('taskqs://localhost:9092').transport).__module__)"
    )

    assert printed(code, tmp_path) == "taskq_kafka.transport"


def test_a_pool_process_carries_neither_kombu_nor_a_kafka_client_nor_an_event_loop(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, taskq, taskq.worker.pools.child; "
        "print({'kombu', 'amqp', 'confluent_kafka', 'asyncio'} & set(sys.modules))"
    )

    assert printed(code, tmp_path) == "set()"


def test_what_only_sends_loads_no_consumer(tmp_path: Path) -> None:
    code = (
        "import sys, taskq_kafka.transport; "
        "print({'taskq_kafka.consumer', 'taskq_kafka.admin', 'taskq_kafka.offsets'} & set(sys.modules))"
    )

    assert printed(code, tmp_path) == "set()"
