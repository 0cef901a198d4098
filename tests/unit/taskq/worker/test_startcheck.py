from __future__ import annotations

import pytest

from taskq.errors import UsageError
from taskq.protocols import QueueStatus
from taskq.worker.startcheck import StartCheck
from tests.support.fake_broker import FakeBroker, isolated_app


def _check(
    *existing: str, asked: tuple[str, ...], **settings: object
) -> tuple[StartCheck, FakeBroker]:
    app, broker = isolated_app(**settings)
    app.task("a", queue="q")(lambda: None)
    broker.admin.statuses = [QueueStatus(queue, 12, 0, None, 0) for queue in existing]
    return StartCheck(app, asked), broker


def test_topics_are_made_where_that_is_allowed() -> None:
    check, broker = _check("q", asked=("q", "other"))

    check.check_queues()

    assert broker.admin.created == ["q", "other"]


def test_partitions_are_told_where_topics_exist() -> None:
    check, broker = _check("q", asked=("q",), auto_create=False)

    assert check.check_queues() == {"q": 12}
    assert broker.admin.created == []


def test_a_queue_of_a_task_needs_its_topic() -> None:
    check, _ = _check("other", asked=("q", "other"), auto_create=False)

    with pytest.raises(UsageError, match="there is no topic for q"):
        check.check_queues()


def test_the_default_queue_needs_a_topic_where_it_is_the_only_one() -> None:
    check, _ = _check(asked=("spare",), auto_create=False, default_queue="spare")

    with pytest.raises(UsageError, match="there is no topic for spare"):
        check.check_queues()


def test_a_default_queue_that_no_task_uses_needs_none_beside_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    check, _ = _check("q", asked=("q", "spare"), auto_create=False, default_queue="spare")

    check.check_queues()

    assert [getattr(each, "event", "") for each in caplog.records] == ["worker.no_topic"]
