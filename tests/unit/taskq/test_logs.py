from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from taskq.logs import (
    LogPlan,
    TaskLines,
    TaskLog,
    TaskqFormatter,
    TaskqHandler,
    configure_logging,
    plan_lines,
    quiet_client,
    task_logger,
)
from tests.support.clock import FakeClock

INFO = LogPlan(logging.INFO, logging.INFO, whole=False)


@pytest.fixture
def strip_root() -> Iterator[Callable[[], logging.Logger]]:
    """Takes all handlers off the root logger, also pytest's, which come after the fixtures; they are put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def strip() -> logging.Logger:
        root.handlers[:] = []
        return root

    yield strip
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_handler_is_added_where_there_is_none(strip_root: Callable[[], logging.Logger]) -> None:
    bare_root = strip_root()
    configure_logging("warning")
    configure_logging("info")

    assert [type(handler) for handler in bare_root.handlers] == [TaskqHandler]
    assert bare_root.level == logging.INFO


def test_an_app_that_logs_by_itself_is_left_alone(strip_root: Callable[[], logging.Logger]) -> None:
    bare_root = strip_root()
    bare_root.addHandler(own := logging.NullHandler())
    bare_root.setLevel(logging.ERROR)

    configure_logging("debug")

    assert bare_root.handlers == [own]
    assert bare_root.level == logging.ERROR


def test_lines_are_whole_only_for_taskqs_own_handler(
    strip_root: Callable[[], logging.Logger],
) -> None:
    bare_root = strip_root()
    configure_logging("info")
    assert plan_lines() == LogPlan(logging.INFO, logging.INFO, whole=True)

    bare_root.addHandler(logging.NullHandler())
    assert not plan_lines().whole


def test_the_format() -> None:
    record = logging.LogRecord("taskq.worker.intake", logging.INFO, "", 1, "a %s", ("b",), None)

    line = TaskqFormatter().format(record)

    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO worker: a b", line)


def test_lines_about_tasks() -> None:
    lines = TaskLines(INFO)

    assert lines.succeeded("a", "1", 0.0031) == "task a[1] succeeded in 0.003s"
    assert lines.ignored("a", "1", 0, "why") == "task a[1] ignored in 0.000s: why"
    assert (
        lines.failed("a", "1", 0, "X: many\nlines", "dead letter q/0/1")
        == "task a[1] failed in 0.000s: X: many lines (dead letter q/0/1)"
    )


def test_no_line_is_made_that_nobody_reads() -> None:
    lines = TaskLines(LogPlan(logging.WARNING, logging.WARNING, whole=False))

    assert lines.succeeded("a", "1", 0) is None
    assert lines.ignored("a", "1", 0, "") is None
    assert lines.failed("a", "1", 0, "x", "y") is not None


def test_a_whole_line_looks_like_the_formatters() -> None:
    clock = FakeClock()
    lines = TaskLines(LogPlan(logging.INFO, logging.INFO, whole=True), clock)
    record = logging.LogRecord(
        "taskq.worker", logging.INFO, "", 1, "task a[1] succeeded in 0.000s", (), None
    )
    record.created, record.msecs = clock.time(), 0.0

    assert lines.succeeded("a", "1", 0) == TaskqFormatter().format(record)
    clock.advance(1.25)
    assert ",250 INFO" in (lines.succeeded("a", "1", 0) or "")


def test_a_batch_is_one_write(strip_root: Callable[[], logging.Logger]) -> None:
    bare_root = strip_root()

    class Stream(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            return super().write(text)

    configure_logging("info")
    stream = Stream()
    handler = bare_root.handlers[0]
    assert isinstance(handler, TaskqHandler)
    handler.setStream(stream)

    TaskLog(plan_lines()).write([(logging.INFO, "e", "one"), (logging.INFO, "e", "two")])

    assert stream.getvalue() == "one\ntwo\n"
    assert stream.writes == 1


def test_an_apps_own_handlers_get_a_record_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=task_logger.name)

    TaskLog(INFO).write(
        [(logging.INFO, "task.succeeded", "one"), (logging.ERROR, "task.failed", "two")]
    )

    assert [(r.levelno, r.getMessage(), getattr(r, "event", "")) for r in caplog.records] == [
        (logging.INFO, "one", "task.succeeded"),
        (logging.ERROR, "two", "task.failed"),
    ]


def test_while_a_start_waits_the_client_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="taskq_kafka")
    client = logging.getLogger("taskq_kafka.clientlog")

    with quiet_client():
        client.warning("left out")
    client.warning("said")

    assert caplog.messages == ["said"]


def test_at_level_debug_the_client_is_heard_also_while_a_start_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="taskq_kafka")

    with quiet_client():
        logging.getLogger("taskq_kafka.clientlog").warning("said")

    assert caplog.messages == ["said"]
