"""Brings what sources hold into the log of schedules. What is written decides `reconcile`; here are the app and the broker.

One thread owns a loader.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from taskq.app import App
from taskq.clock import Clock
from taskq.errors import ScheduleFileError, TaskqError, UsageError
from taskq.near import nearest
from taskq.queues import check_queue
from taskq.scheduling.duemessages import message_of
from taskq.scheduling.occurrences import Definition, Occurrence
from taskq.scheduling.reconcile import Line, Offer, Plan, reconcile
from taskq.scheduling.schedulelog import (
    GROUP,
    LOG,
    Load,
    Manifest,
    Shelf,
    manifest_route,
    read_shelf,
)
from taskq.timing.shards import Write

logger = logging.getLogger(__name__)


class ScheduleLoader:
    """Loads schedules. All its calls block for the broker, `connect_timeout` or `publish_timeout` seconds at most."""

    def __init__(
        self, app: App, clock: Clock, *, host: str, pid: int, replaces_all: bool, warns: bool
    ) -> None:
        """Take whose loads these are; nothing is connected yet.

        Args:
            app: What knows tasks and queues, and has the broker.
            clock: When they are loaded.
            host: This machine, for manifests.
            pid: This process.
            replaces_all: Whether a load may take out all that its origin has brought.
            warns: Whether to warn of tasks that the app does not have.
        """
        self._app = app
        self._clock = clock
        self._host = host
        self._pid = pid
        self._replaces_all = replaces_all
        self._warns = warns

    def check(self) -> None:
        """Make the log if it is missing, and see that it is fit.

        Raises:
            BrokerUnreachable: No broker answered within `connect_timeout` seconds.
            BrokerRefused: It cannot be made, or is not fit.
        """
        broker = self._app.broker
        with broker.errors():
            broker.logs.check(LOG, timeout=self._app.settings.connect_timeout)

    def load(self, offer: Offer, *, is_repeated: bool = False, kept: Collection[str] = ()) -> Plan:
        """Let what a source holds be in force, and say what has changed; returns what was written.

        Args:
            offer: What the source holds.
            is_repeated: Whether this process has loaded the same before, and only mends what has become of it.
            kept: Ids that it must not take out yet, see `Plan.left`.

        Raises:
            ScheduleFileError: It cannot be used.
            UsageError: Another beat has other schedules under the namespace.
            BrokerUnreachable: No broker answered; some of it may have been written.
            BrokerRefused: It takes a record not.
        """
        self._check_entries(offer)
        load = Load(offer.digest, self._host, self._pid, self._clock.now())
        plan = reconcile(
            offer,
            self.shelf(offer.namespace),
            load=load,
            replaces_all=self._replaces_all,
            is_live=lambda: self._is_live(offer.namespace),
            is_repeated=is_repeated,
            kept=kept,
        )
        self._write(plan.writes)
        say(plan.lines)
        return plan

    def shelf(self, namespace: str) -> Shelf:
        """Return what stands in the log of a namespace; raises as `load`."""
        broker = self._app.broker
        with broker.errors():
            return read_shelf(
                broker.logs.read(LOG, timeout=self._app.settings.connect_timeout), namespace
            )

    def manifests(self, namespace: str) -> Mapping[str, Manifest]:
        """Return what the log says is in force of a namespace, by origin; reads one partition of it, and raises as `load`."""
        broker = self._app.broker
        route = manifest_route(namespace)
        with broker.errors():
            records = broker.logs.read(LOG, route=route, timeout=self._app.settings.connect_timeout)
            return read_shelf(records, namespace).manifests

    def warn_of_unknown_tasks(self, offer: Offer) -> None:
        """Name the entries whose task the app does not have, where it has modules: others may have it, so it is no error."""
        if not self._warns:
            return
        registry = self._app.registry
        for entry in offer.entries:
            if entry.task in registry:
                continue
            near = nearest(entry.task, registry.names())
            name = f"{offer.namespace}/{entry.id}"
            logger.warning(
                "schedule %s: the app has no task %r%s; it is sent all the same",
                name,
                entry.task,
                f" (did you mean {near!r}?)" if near else "",
                extra={"event": "schedule.unknown_task", "schedule": name, "task": entry.task},
            )

    def _is_live(self, namespace: str) -> bool:
        broker = self._app.broker
        with broker.errors():
            group = broker.admin.group(
                f"{GROUP}{namespace}", timeout=self._app.settings.connect_timeout
            )
        return bool(group.members)

    def _write(self, writes: Sequence[Write]) -> None:
        broker = self._app.broker
        with broker.errors():
            errors = broker.logs.append(writes, timeout=self._app.settings.publish_timeout)
            for error in errors:
                if error is not None:
                    raise error

    def _check_entries(self, offer: Offer) -> None:
        """See that what is loaded can be sent."""
        problems = list(self._problems(offer))
        if problems:
            raise ScheduleFileError(offer.source, problems)

    def _problems(self, offer: Offer) -> Iterator[str]:
        now = self._clock.now()
        for entry in offer.entries:
            definition = Definition(entry, offer.namespace, now, offer.origin)
            for check in (self._check_message, self._check_queue):
                why = _why_refused(check, definition)
                if why:
                    yield f"the schedule {definition.name!r} cannot be sent: {why}"

    def _queue(self, definition: Definition) -> str:
        return definition.entry.queue or self._app.queue_of(definition.entry.task)

    def _check_message(self, definition: Definition) -> None:
        at = definition.effective_from
        message_of(Occurrence(definition, at, at), self._queue(definition), self._app.format)

    def _check_queue(self, definition: Definition) -> None:
        check_queue(self._queue(definition), prefix=self._app.settings.prefix)


def _why_refused(check: Callable[[Definition], None], definition: Definition) -> str:
    try:
        check(definition)
    except TaskqError as error:
        return str(error)
    return ""


def check_apart(offers: Sequence[Offer]) -> None:
    """See that the sources of one beat do not meet.

    Raises:
        UsageError: Two have one name in one namespace.
        ScheduleFileError: Two have one id in one namespace.
    """
    sources: dict[tuple[str, str], str] = {}
    holders: dict[tuple[str, str], Offer] = {}
    for offer in offers:
        first = sources.setdefault((offer.namespace, offer.origin), offer.source)
        if first != offer.source:
            raise UsageError(
                f"{first} and {offer.source} have one name, and so would take out one another's schedules; rename one"
            )
        for entry in offer.entries:
            other = holders.setdefault((offer.namespace, entry.id), offer)
            if other.origin != offer.origin:
                name = f"{offer.namespace}/{entry.id}"
                why = (
                    f"the schedule {name!r} stands in {other.source} too; ids are unique in a namespace: choose another "
                    "with --namespace, or none"
                )
                raise ScheduleFileError(offer.source, [why])


def say(lines: Iterable[Line]) -> None:
    """Write lines to the log."""
    for line in lines:
        logger.log(line.level, "%s", line.text, extra=line.extra)
