"""What all tests of the transport's own modules stand on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def the_transport_speaks() -> Iterator[None]:
    """Let the transport's log be heard: a command that an earlier test ran in this process has silenced it."""
    logger = logging.getLogger("taskq_kafka")
    level = logger.level
    logger.setLevel(logging.NOTSET)
    yield
    logger.setLevel(level)
