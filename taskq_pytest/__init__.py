"""The pytest plugin of taskq: the fixture `taskq_app`. Does nothing, and imports nothing of taskq, in tests that do not ask for it.

A package of its own, because pytest imports its plugins at every start, and `import taskq` brings kombu with it; see
docs/decisions/0011-the-pytest-plugin-stands-alone.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskq import App
    from taskq.testing import AppOnMemory

__all__ = ["taskq_app", "taskq_app_under_test"]


@pytest.fixture
def taskq_app_under_test() -> App:
    """The app that `taskq_app` puts on `memory://`; a project with another one overrides this in its conftest.py.

    By default the app of the modules that the setting `app` names, as a worker's is; without that setting the default app.
    """
    from taskq import default_app
    from taskq.loading import load_app
    from taskq.sources import read_sources

    sources = read_sources()
    modules = sources.settings({}).app
    return load_app(modules, sources.directory) if modules else default_app


@pytest.fixture
def taskq_app(taskq_app_under_test: App) -> Iterator[AppOnMemory]:
    """The app on a `memory://` of its own: tasks that the test sends wait there until `taskq_app.run_until_idle()`."""
    from taskq.testing import on_memory

    with on_memory(taskq_app_under_test) as app_on_memory:
        yield app_on_memory
