from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

import taskq
from taskq import errors


def test_all_is_sorted_and_complete() -> None:
    assert taskq.__all__ == sorted(taskq.__all__)
    for name in taskq.__all__:
        if name != "__version__":
            assert hasattr(taskq, name)


def test_every_error_is_exported() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TaskqError)
    }

    assert defined <= set(taskq.__all__)


def test_the_version_is_the_distributions() -> None:
    try:
        expected = metadata.version("taskq-kafka")
    except metadata.PackageNotFoundError:
        with pytest.raises(metadata.PackageNotFoundError):
            _ = taskq.__version__
    else:
        assert taskq.__version__ == expected


def test_an_import_loads_no_client_and_starts_no_thread() -> None:
    code = (
        "import sys, threading, taskq;"
        "bad = [name for name in ('confluent_kafka', 'click', 'croniter') if name in sys.modules];"
        "sys.exit(str(bad) if bad or threading.active_count() > 1 else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr
