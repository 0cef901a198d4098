"""Programs that send from many threads, and fork: each `delay()` that returned stands in the queue, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import Kafka
from tests.support.station import PATIENCE, Station, headers_of, station


@pytest.fixture
def place(kafka: Kafka, tmp_path: Path) -> Iterator[Station]:
    with station(kafka.bootstrap, tmp_path, "senders") as place:
        yield place


@pytest.mark.parametrize(
    ("how", "least"),
    [
        ("threads", 2000),
        ("preloaded", 300),
        ("connected", 420),
        ("busy", 100),
        ("grandchildren", 40),
    ],
)
def test_all_that_was_sent_is_there_once(place: Station, how: str, least: int) -> None:
    # Python 3.12 warns of any fork beside threads, whatever they do.
    quiet = ["-W", "ignore::DeprecationWarning"]
    program = place.processes.python(
        *quiet, "-m", "tests.support.senders", how, env=place.environment
    )

    assert program.wait(timeout=PATIENCE) == 0, program.text

    assert program.text == "done\n"
    sent = place.ledger.ids("sent")
    assert len(sent) >= least
    standing = Counter(
        (dict(headers_of(each))["id"] or b"").decode() for each in place.read(place.queue)
    )
    assert standing == Counter(sent)
