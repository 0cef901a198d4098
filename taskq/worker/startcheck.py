"""What a worker sees to before it starts: the topics of its queues, and the log of the timers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set

from taskq.app import App
from taskq.errors import BrokerRefused, TaskqError, UsageError
from taskq.near import nearest
from taskq.printing import counted
from taskq.timing.timers import LOG as TIMERS

logger = logging.getLogger(__name__)


class StartCheck:
    """Asks the broker; blocks until it answers."""

    def __init__(self, app: App, queues: Sequence[str], strange: Sequence[str] = ()) -> None:
        """Prepare.

        Args:
            app: Its broker is asked.
            queues: The worker's.
            strange: Those of them that no task of the app goes to.
        """
        self._app = app
        self._queues = queues
        self._strange = strange

    def check_queues(self) -> Mapping[str, int] | None:
        """Make topics that are missing, if that is allowed; return how many partitions each has, None if nobody may say.

        Raises:
            BrokerUnreachable: There was no answer.
            UsageError: There is no topic for a queue, and none is to be made.
        """
        broker, settings = self._app.broker, self._app.settings
        new = self._new_queues() if settings.auto_create else []
        if settings.auto_create:
            with broker.errors():
                for queue in self._queues:
                    broker.admin.create_queue(queue, timeout=settings.connect_timeout)
        counts = self._partition_counts()
        if counts is not None and not settings.auto_create:
            self._miss(set(self._queues) - set(counts))
        self._tell_new(new, counts or {})
        return counts

    def check_timers(self) -> None:
        """Make the log of the timers if it is missing, and see that it keeps what waits.

        Raises:
            UsageError: It would not, or we may not use it; says what to do.
        """
        broker, settings = self._app.broker, self._app.settings
        try:
            with broker.errors():
                broker.logs.check(TIMERS, timeout=settings.connect_timeout)
        except BrokerRefused as error:
            raise UsageError(
                f"{error}; or leave the time of waiting tasks to other workers with --no-timers"
            ) from error

    def _new_queues(self) -> list[str]:
        """Return the queues that no task of the app goes to, and that do not exist yet: a typing error would make one."""
        if not self._strange:
            return []
        broker, timeout = self._app.broker, self._app.settings.connect_timeout
        with broker.errors():
            there = broker.admin.existing(self._strange, timeout=timeout)
        return [queue for queue in self._strange if queue not in there]

    def _tell_new(self, new: Sequence[str], counts: Mapping[str, int]) -> None:
        known = {self._app.settings.default_queue, *self._app.registry.queues()}
        for queue in new:
            near = nearest(queue, known)
            count = counts.get(queue)
            logger.warning(
                "queue %s is new: made%s; no task of this app goes there%s",
                queue,
                f" with {counted(count, 'partition')}" if count else "",
                f"; did you mean {near!r}?" if near else "",
                extra={"event": "worker.new_queue", "queue": queue},
            )

    def _partition_counts(self) -> Mapping[str, int] | None:
        broker = self._app.broker
        try:
            with broker.errors():
                return broker.admin.partition_counts(
                    self._queues, timeout=self._app.settings.connect_timeout
                )
        except TaskqError:
            # Rights that are missing are told by the intakes, which try again.
            logger.debug("no partition counts for the banner", exc_info=True)
            return None

    def _miss(self, missing: Set[str]) -> None:
        """Refuse to wait for a queue whose topic does not exist; but the default queue may be one that nobody needs.

        Raises:
            UsageError: Of others, which tasks or the command line name.
        """
        if not missing:
            return
        queues = ", ".join(sorted(missing))
        asked_for = set(self._app.registry.queues())
        if (
            missing == {self._app.settings.default_queue}
            and not missing & asked_for
            and len(self._queues) > 1
        ):
            logger.warning(
                "queue %s has no topic, and auto_create is off: nothing can be sent to it",
                queues,
                extra={"event": "worker.no_topic", "queue": queues},
            )
            return
        raise UsageError(
            f"there is no topic for {queues}, and auto_create is off; create it, leave it out with -X, or set auto_create"
        )
