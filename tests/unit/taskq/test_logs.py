from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from types import MappingProxyType

import pytest

from taskq.logs import (
    LogPlan,
    TaskLines,
    TaskLog,
    TaskqFormatter,
    TaskqHandler,
    configure_logging,
    held_back,
    is_json,
    log_failure,
    plan_lines,
    quiet_client,
    task_logger,
)
from tests.support.clock import FakeClock

INFO = LogPlan(logging.INFO, logging.INFO, whole=False)
JSON_PLAN = LogPlan(logging.INFO, logging.INFO, whole=True, form="json")
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


class About:
    """A task of a line."""

    queue, partition, offset = "q", 3, 4
    fields: Mapping[str, object] = MappingProxyType(
        {"task": "a", "id": "1", "queue": "q", "partition": 3, "offset": 4}
    )


PLACE = ABOUT = About()


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

    assert lines.succeeded("a", "1", PLACE, 0.0031) == "task a[1] succeeded in 0.003s"
    assert lines.ignored("a", "1", PLACE, 0, "why") == "task a[1] ignored in 0.000s: why"
    assert (
        lines.failed("a", "1", PLACE, 0, "X: many\nlines", "dead letter q/0/1")
        == "task a[1] failed in 0.000s: X: many lines (dead letter q/0/1)"
    )


def test_no_line_is_made_that_nobody_reads() -> None:
    lines = TaskLines(LogPlan(logging.WARNING, logging.WARNING, whole=False))

    assert lines.succeeded("a", "1", PLACE, 0) is None
    assert lines.ignored("a", "1", PLACE, 0, "") is None
    assert lines.failed("a", "1", PLACE, 0, "x", "y") is not None


def test_a_whole_line_looks_like_the_formatters() -> None:
    clock = FakeClock()
    lines = TaskLines(LogPlan(logging.INFO, logging.INFO, whole=True), clock)
    record = logging.LogRecord(
        "taskq.worker", logging.INFO, "", 1, "task a[1] succeeded in 0.000s", (), None
    )
    record.created, record.msecs = clock.time(), 0.0

    assert lines.succeeded("a", "1", PLACE, 0) == TaskqFormatter().format(record)
    clock.advance(1.25)
    assert ",250 INFO" in (lines.succeeded("a", "1", PLACE, 0) or "")


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

    TaskLog(plan_lines()).write(
        [(logging.INFO, "e", "one", ABOUT), (logging.INFO, "e", "two", ABOUT)]
    )

    assert stream.getvalue() == "one\ntwo\n"
    assert stream.writes == 1


class Raising(io.StringIO):
    """A stream of the app's that does not work."""

    def write(self, text: str) -> int:
        raise RuntimeError("not connected")


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, _closed(), Raising()], ids=["none", "closed", "raising"])
def test_a_stream_that_cannot_be_written_costs_the_lines_alone(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    handler = TaskqHandler()

    handler.write_lines(["one"])  # raises nothing
    handler.setStream(working := io.StringIO())
    handler.write_lines(["two"])

    assert working.getvalue() == "two\n"


def test_a_failure_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        log_failure(task_logger, "%s failed", "it", extra={"event": "e"})

    (record,) = caplog.records
    assert record.getMessage() == "it failed"
    assert record.exc_info is not None
    assert getattr(record, "event", "") == "e"


def test_a_failure_of_the_apps_own_handler_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("the log server is away")

    task_logger.addHandler(broken := Broken())
    try:
        log_failure(task_logger, "it failed", extra={"event": "e"})
    finally:
        task_logger.removeHandler(broken)


def test_an_apps_own_handlers_get_a_record_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=task_logger.name)

    TaskLog(INFO).write(
        [
            (logging.INFO, "task.succeeded", "one", ABOUT),
            (logging.ERROR, "task.failed", "two", ABOUT),
        ]
    )

    assert [(r.levelno, r.getMessage(), getattr(r, "event", "")) for r in caplog.records] == [
        (logging.INFO, "one", "task.succeeded"),
        (logging.ERROR, "two", "task.failed"),
    ]
    assert {name: vars(caplog.records[0])[name] for name in ABOUT.fields} == ABOUT.fields


def test_lines_about_tasks_as_json() -> None:
    lines = TaskLines(JSON_PLAN, FakeClock(NOON))

    succeeded = json.loads(lines.succeeded("a", "1", PLACE, 0.0031) or "")
    ignored = json.loads(lines.ignored("a", "1", PLACE, 0, "why") or "")
    failed = json.loads(lines.failed("a", "1", PLACE, 0, "X: y", "dead letter q/3/4", "T") or "")

    assert succeeded == {
        "time": "2026-11-24T12:00:00.000Z",
        "level": "INFO",
        "logger": "taskq.worker.tasks",
        "event": "task.succeeded",
        "message": "task a[1] succeeded in 0.003s",
        "runtime": 0.0031,
        **ABOUT.fields,
    }
    assert (ignored["event"], ignored["level"]) == ("task.ignored", "INFO")
    assert (failed["event"], failed["level"]) == ("task.failed", "ERROR")
    assert (failed["error"], failed["traceback"]) == ("X: y", "T")


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (0.0, "at once"),
        (0.25, "in 0.25 s"),
        (4.0, "in 4 s"),
        (3.14159, "in 3.14 s"),
        (600, "in 600 s"),
    ],
)
def test_a_line_about_a_retry_says_when_and_which(wait: float, words: str) -> None:
    lines = TaskLines(INFO)

    retried = lines.retried("a", "1", PLACE, 0, "X: y", wait=wait, count="2 of 3")
    requeued = lines.requeued("a", "1", PLACE, 0, "full", wait=wait)

    assert retried == f"task a[1] will be retried {words} (2 of 3): X: y"
    assert requeued == f"task a[1] goes back to its queue {words}: full"


def test_lines_about_what_runs_again_as_json() -> None:
    lines = TaskLines(JSON_PLAN, FakeClock(NOON))

    retried = json.loads(
        lines.retried("a", "1", PLACE, 0, "X: y", wait=4, count="1", trace="T") or ""
    )
    requeued = json.loads(lines.requeued("a", "1", PLACE, 0, "", wait=0) or "")

    assert (retried["event"], retried["level"]) == ("task.retried", "WARNING")
    assert (retried["error"], retried["wait"], retried["traceback"]) == ("X: y", 4, "T")
    assert (requeued["event"], requeued["level"]) == ("task.requeued", "WARNING")
    assert (requeued["message"], requeued["wait"]) == (
        "task a[1] goes back to its queue at once",
        0,
    )


def test_json_is_for_taskqs_own_handler_only() -> None:
    lines = TaskLines(replace(JSON_PLAN, whole=False))

    assert lines.succeeded("a", "1", PLACE, 0) == "task a[1] succeeded in 0.000s"


def test_the_format_is_that_of_the_last_call(strip_root: Callable[[], logging.Logger]) -> None:
    strip_root()
    configure_logging("info", "json")
    assert is_json()
    assert plan_lines().form == "json"

    configure_logging("info", "text")

    assert not is_json()


def test_what_is_said_before_the_format_is_known_is_said_in_it(
    strip_root: Callable[[], logging.Logger],
) -> None:
    bare_root = strip_root()
    stream = io.StringIO()

    with held_back():
        logging.getLogger("taskq.sources").warning("early", extra={"event": "e"})
        configure_logging("info", "json")
        handler = bare_root.handlers[0]
        assert isinstance(handler, TaskqHandler)
        handler.setStream(stream)

    said = json.loads(stream.getvalue())
    assert (said["message"], said["event"]) == ("early", "e")


def test_what_is_said_before_the_level_is_known_is_left_out_by_it(
    strip_root: Callable[[], logging.Logger],
) -> None:
    bare_root = strip_root()
    stream = io.StringIO()

    with held_back():
        logging.getLogger("taskq.sources").warning("early")
        configure_logging("error")
        handler = bare_root.handlers[0]
        assert isinstance(handler, TaskqHandler)
        handler.setStream(stream)

    assert stream.getvalue() == ""


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
