"""What becomes of the tasks of a prefork child that has ended: results that the parent makes, because nobody else is left to."""

from __future__ import annotations

import logging

from taskq.errors import TimeLimitExceeded
from taskq.errortext import error_text
from taskq.running.runresult import FAILED, SUCCEEDED, Detail, Result, revoked
from taskq.worker.delivery import Delivery
from taskq.worker.pools.childlink import ChildLink, Verdict

logger = logging.getLogger(__name__)


def results_of(link: ChildLink, verdict: Verdict, how: str) -> list[tuple[Delivery, Result]]:
    """Return the results of what a dead child had started.

    Args:
        link: The child's.
        verdict: What it held.
        how: How it ended, for people.
    """
    ended: list[tuple[Delivery, Result]] = []
    for delivery in verdict.finished:
        logger.info(
            "%s succeeded; its %s died before it could report",
            delivery,
            link.description,
            extra={"event": "task.succeeded", **delivery.fields},
        )
        ended.append((delivery, (SUCCEEDED, 0.0, None, None)))
    ended += [(delivery, _failed(link, delivery, how)) for delivery in verdict.running]
    return ended


def _failed(link: ChildLink, delivery: Delivery, how: str) -> Result:
    """Return the result of what a child was running when it ended.

    Whether it is retried is for whoever acts on results (aftermath.py) to say: it has all that a child's own result has.
    """
    seconds, limit = link.ended_after, delivery.time_limit
    if seconds is not None and delivery.is_to_end:
        return revoked(f"the {link.description} that ran it {how}", seconds)
    if seconds is not None and limit is not None:
        error = error_text(TimeLimitExceeded(limit, f"; the {link.description} that ran it {how}"))
        return FAILED, seconds, None, ("time_limit", error, "", [])
    detail: Detail = ("worker_died", f"the {link.description} that ran it {how}", "", [])
    return FAILED, 0.0, None, detail
