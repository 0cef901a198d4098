"""Beat: sends the tasks of schedules when they are due.

What is due is decided in `taskq.timetable`; here are the clock, the files and the broker.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskq.app import App
from taskq.clock import Clock, SystemClock
from taskq.duemessages import message_of
from taskq.errors import ScheduleFileError, TaskqError, UsageError
from taskq.logs import quiet_client
from taskq.near import nearest
from taskq.occurrences import (
    TAKE_OVER,
    Decision,
    Definition,
    LeftOut,
    Occurrence,
    decide,
)
from taskq.protocols import Outgoing
from taskq.queues import check_queue
from taskq.schedulefile import ScheduleFile
from taskq.schedulesource import ScheduleSource
from taskq.timetable import Changes, Timetable, compare

logger = logging.getLogger(__name__)

_LONGEST_WAIT = 1.0
"""Seconds. A wait is cut to this, so that a clock that was set and a file that changed are seen in time."""

_CLOCK_SET = 1.0
"""Seconds between the system's clock and the monotonic one over one wait, from which on the clock was set."""

_BACKOFF = (1.0, 2.0, 4.0, 5.0)
"""Seconds before the second, third ... try of sending; short, because a broker that is back should not find beat asleep."""


@dataclass(slots=True)
class _Unsent:
    """A decision whose occurrences have not all been acknowledged."""

    name: str
    decision: Decision
    occurrences: Sequence[Occurrence]
    attempts: int = 0
    next_try: float = 0.0
    """On the monotonic clock, in seconds."""


class Beat:
    """Sends the tasks of schedule files when they are due. One thread owns it; only `stop` may be called from others.

    How far the schedules have come is kept in memory: a beat that starts begins anew (nothing before its first load is due), so one
    that dies loses what comes due until the next one starts, and what it could not send.

    An occurrence counts as sent when the broker has acknowledged it. One that was not acknowledged is kept and sent again, with the
    same task id, however long that takes, and the later ones of its schedule wait behind it, also while the broker is away; so
    none is dropped. It is sent twice only where the answer got lost after the broker had written it: a failed publish means
    unknown, not unsent.

    One schedule that cannot be sent stops no other: its tries are apart from what is due, at most one every few seconds. But a
    try that gets no answer holds up all others for `publish_timeout` seconds.
    """

    def __init__(
        self,
        app: App,
        files: Sequence[str],
        *,
        namespace: str | None = None,
        replace: bool = False,
        check_tasks: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Take what to send; nothing is read or connected yet.

        Args:
            app: Where tasks are sent, and what knows their queues.
            files: Paths of schedule files.
            namespace: Where the ids are unique; None: for each file its name without its ending.
            replace: Whether a changed file may remove every schedule that came from it before.
            check_tasks: Whether to warn of tasks that the app does not know.
            clock: What tells the time.

        Raises:
            UsageError: There is no file, or a namespace is not allowed.
        """
        if not files:
            raise UsageError(
                "beat has no schedule; name a file with -s FILE or in the setting 'schedule'"
            )
        self._app = app
        self._sources = [ScheduleSource(path, namespace) for path in dict.fromkeys(files)]
        self._replace = replace
        self._check_tasks = check_tasks
        self._clock: Clock = clock or SystemClock()
        self._timetable = Timetable()
        self._unsent: dict[str, _Unsent] = {}
        self._stop = threading.Event()
        self.is_sending = False
        """Whether it has begun: before that nothing is lost if the process ends."""

        self._watching_since = self._clock.now()

    def stop(self) -> None:
        """Let `run` return after what it is just sending. Any thread may call it; not a signal handler of the thread in `run`."""
        self._stop.set()

    def run(self) -> int:
        """Load the files and send what is due until `stop` is called. Blocks.

        Returns:
            How many occurrences were due and could not be sent; each was named in the log.

        Raises:
            ScheduleFileError: A file cannot be used.
            BrokerUnreachable: No broker answered within `connect_timeout` seconds; once it runs, beat waits for the broker.
        """
        self.start()
        while not self._stop.is_set():
            self._wait(self._safe_step())
        return self._say_unsent()

    def start(self) -> None:
        """Load the files and see that the broker answers.

        Raises:
            ScheduleFileError: A file cannot be used.
            BrokerUnreachable: No broker answered within `connect_timeout` seconds.
        """
        files = [(source, source.read()) for source in self._sources]
        for source, file in files:
            self._load(source, file)
        with quiet_client():
            self._app.broker.check()
        self._watching_since = self._clock.now()
        self.is_sending = True
        logger.info(
            "beat is ready: %d schedules from %s, broker %s",
            len(self._timetable),
            ", ".join(f"{source.path} (namespace {source.namespace})" for source in self._sources),
            self._app.broker.address,
            extra={"event": "beat.started", "schedules": len(self._timetable)},
        )

    def step(self) -> float:
        """Send what is due now, after looking at the files. Blocks for the broker's answer.

        Returns:
            Seconds until there is something to do again: exactly when the next schedule is due, or earlier.
        """
        self._send_due()  # first, so that a change of a file does not hold it up, nor remove what was due before it
        for source in self._sources:
            self._reload(source)
        return self._seconds_to_next()

    def _safe_step(self) -> float:
        try:
            return self.step()
        except Exception:
            logger.exception(
                "a turn of beat failed; it goes on, and what was due is kept",
                extra={"event": "beat.turn_failed"},
            )
            return _LONGEST_WAIT

    def _wait(self, seconds: float) -> None:
        """Wait, and find out whether the time did what it should meanwhile."""
        wall, steady = self._clock.now(), self._clock.monotonic()
        self._clock.wait(self._stop, min(seconds, _LONGEST_WAIT))
        passed = self._clock.now() - wall
        drift = passed.total_seconds() - (self._clock.monotonic() - steady)
        if abs(drift) >= _CLOCK_SET:
            logger.warning(
                "the system's clock was set %s by %.1f s%s",
                "forward" if drift > 0 else "back",
                abs(drift),
                "" if drift > 0 else "; what was sent is not sent again when its time comes again",
                extra={"event": "beat.clock_set", "seconds": drift},
            )
        if passed > TAKE_OVER:
            self._watching_since = self._clock.now()
            logger.warning(
                "beat stood still for %.0f s; what was missed is sent as each schedule's catch_up says",
                passed.total_seconds(),
                extra={"event": "beat.stood_still", "seconds": passed.total_seconds()},
            )

    def _seconds_to_next(self) -> float:
        seconds = _LONGEST_WAIT
        due = self._timetable.next_due
        if due is not None:
            seconds = min(seconds, (due - self._clock.now()).total_seconds())
        if self._unsent:
            next_try = min(unsent.next_try for unsent in self._unsent.values())
            seconds = min(seconds, next_try - self._clock.monotonic())
        return max(0.0, seconds)

    # Sending

    def _send_due(self) -> None:
        self._take_due(self._clock.now())
        steady = self._clock.monotonic()
        # Apart, so that what failed before cannot hold up what is due now.
        self._send([unsent for unsent in self._unsent.values() if not unsent.attempts])
        self._send(
            [
                unsent
                for unsent in self._unsent.values()
                if unsent.attempts and unsent.next_try <= steady
            ]
        )

    def _take_due(self, now: datetime) -> None:
        for decision in self._timetable.take(now, watching_since=self._watching_since):
            name = decision.state.definition.name
            if decision.left_out is not None:
                _say_left_out(name, decision.left_out)
            if decision.occurrences:
                self._unsent[name] = _Unsent(name, decision, decision.occurrences)
            else:
                self._timetable.settle(name, decision)

    def _message(self, occurrence: Occurrence) -> Outgoing:
        entry = occurrence.definition.entry
        queue = entry.queue or self._app.queue_of(entry.task)
        return message_of(occurrence, queue, self._app.format)

    def _send(self, waiting: Sequence[_Unsent]) -> None:
        """Write all that is waiting with one call, and take each answer."""
        if not waiting:
            return
        messages = [self._message(each) for unsent in waiting for each in unsent.occurrences]
        errors = iter(self._app.broker.publish(messages))
        failed: list[tuple[_Unsent, Exception]] = []
        for unsent in waiting:
            error = self._take_answers(unsent, [next(errors) for _ in unsent.occurrences])
            if error is not None:
                failed.append((unsent, error))
        if failed:
            _say_failed(failed)

    def _take_answers(
        self, unsent: _Unsent, answers: Sequence[Exception | None]
    ) -> Exception | None:
        """Keep what was not acknowledged; returns the first error."""
        _say_sent(unsent, answers, self._clock.now())
        unsent.attempts += 1
        kept = [
            each
            for each, error in zip(unsent.occurrences, answers, strict=True)
            if error is not None
        ]
        if not kept:
            del self._unsent[unsent.name]
            self._timetable.settle(unsent.name, unsent.decision)
            return None
        unsent.occurrences = kept
        pause = _BACKOFF[min(unsent.attempts, len(_BACKOFF)) - 1]
        unsent.next_try = self._clock.monotonic() + pause
        return next(error for error in answers if error is not None)

    def _say_unsent(self) -> int:
        """Name what a stopping beat has not sent: nobody else knows of it. Returns how many these are."""
        now = self._clock.now()
        if self._unsent:
            self._take_due(now)
        count = 0
        for unsent in self._unsent.values():
            lost = self._lost(unsent, now)
            count += len(lost)
            _say_lost(lost)
        logger.info("beat has stopped", extra={"event": "beat.stopped"})
        return count

    def _lost(self, unsent: _Unsent, now: datetime) -> list[Occurrence]:
        """Return what of a schedule is not sent: what was tried, and what has come due behind it."""
        lost, decision = list(unsent.occurrences), unsent.decision
        definition = self._timetable.definition(unsent.name) or decision.state.definition
        while True:
            decision = decide(decision.state, definition, now, watching_since=self._watching_since)
            if not decision.occurrences:
                return lost
            lost += decision.occurrences

    # Loading

    def _reload(self, source: ScheduleSource) -> None:
        file = source.read_if_changed()
        if file is None:
            return
        try:
            self._load(source, file)
        except ScheduleFileError as error:
            source.refuse(error)
        else:
            source.accept()

    def _load(self, source: ScheduleSource, file: ScheduleFile) -> None:
        now = self._clock.now()
        definitions = [
            Definition(entry, source.namespace, now, source.origin) for entry in file.entries
        ]
        old = self._timetable.definitions(source.origin)
        changes = compare(old, definitions)
        problems = [*self._problems(definitions, old.keys())]
        if old and len(changes.removed) == len(old) and not self._replace:
            problems.append(
                f"would remove every schedule there is ({len(old)}); start beat with --replace if that is meant"
            )
        if problems:
            raise ScheduleFileError(source.path, problems)
        self._timetable.load(source.origin, definitions)
        self._forget_unsent(changes.removed)
        _say_changes(changes, source)
        if self._check_tasks:
            touched = {*changes.added, *changes.changed}
            self._warn_of_unknown_tasks(each for each in definitions if each.name in touched)

    def _problems(self, definitions: Sequence[Definition], own: Iterable[str]) -> Iterable[str]:
        """Find what only shows with the other files and with the app: so a loaded schedule can always be sent."""
        own = set(own)
        for definition in definitions:
            name = definition.name
            if name in self._timetable and name not in own:
                yield (
                    f"the schedule {name!r} stands in another file too; ids are unique in a namespace: "
                    "choose another with --namespace, or none"
                )
            for check in (self._check_message, self._check_queue):
                why = _why_refused(check, definition)
                if why:
                    yield f"the schedule {name!r} cannot be sent: {why}"

    def _check_message(self, definition: Definition) -> None:
        at = definition.effective_from
        self._message(Occurrence(definition, at, at))

    def _check_queue(self, definition: Definition) -> None:
        entry = definition.entry
        queue = entry.queue or self._app.queue_of(entry.task)
        check_queue(queue, prefix=self._app.settings.prefix)

    def _forget_unsent(self, removed: Iterable[str]) -> None:
        for name in removed:
            unsent = self._unsent.pop(name, None)
            if unsent is not None:
                logger.warning(
                    "schedule %s was removed before %d occurrences could be sent; they are not sent any more",
                    name,
                    len(unsent.occurrences),
                    extra={"event": "occurrence.removed", "schedule": name},
                )

    def _warn_of_unknown_tasks(self, definitions: Iterable[Definition]) -> None:
        registry = self._app.registry
        for definition in definitions:
            task = definition.entry.task
            if task in registry:
                continue
            near = nearest(task, registry.names())
            logger.warning(
                "schedule %s: the app has no task %r%s; it is sent all the same",
                definition.name,
                task,
                f" (did you mean {near!r}?)" if near else "",
                extra={"event": "schedule.unknown_task", "schedule": definition.name, "task": task},
            )


def _why_refused(check: Callable[[Definition], None], definition: Definition) -> str:
    try:
        check(definition)
    except TaskqError as error:
        return str(error)
    return ""


def _say_changes(changes: Changes, source: ScheduleSource) -> None:
    for name in changes.added:
        extra = {"event": "schedule.added", "schedule": name}
        logger.info("schedule %s added by %s", name, source.path, extra=extra)
    for name in changes.changed:
        extra = {"event": "schedule.changed", "schedule": name}
        logger.info("schedule %s changed by %s", name, source.path, extra=extra)
    for name in changes.removed:
        extra = {"event": "schedule.removed", "schedule": name}
        logger.info("schedule %s removed by %s", name, source.path, extra=extra)


def _say_left_out(name: str, left_out: LeftOut) -> None:
    logger.warning(
        "schedule %s: what was missed from %s to %s is left out, as its catch_up says",
        name,
        left_out.first.isoformat(),
        left_out.last.isoformat(),
        extra={"event": "occurrence.left_out", "schedule": name},
    )


def _say_sent(unsent: _Unsent, answers: Sequence[Exception | None], now: datetime) -> None:
    level = logging.INFO if unsent.attempts else logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    for occurrence, error in zip(unsent.occurrences, answers, strict=True):
        if error is None:
            late = (now - occurrence.due).total_seconds()
            logger.log(
                level,
                "sent %s, acknowledged %.0f ms after it was due",
                occurrence.task_id,
                late * 1000,
                extra={"event": "occurrence.sent", "id": occurrence.task_id, "lateness": late},
            )


def _say_lost(lost: Sequence[Occurrence]) -> None:
    """One line a schedule; the ids of several are those from the first to the last."""
    first, last = lost[0], lost[-1]
    extra = {
        "event": "occurrence.lost",
        "id": first.task_id,
        "last": last.task_id,
        "count": len(lost),
    }
    if len(lost) == 1:
        logger.error(
            "%s was due at %s and could not be sent before beat stopped; it is lost unless it is sent by hand",
            first.task_id,
            first.due.isoformat(),
            extra=extra,
        )
        return
    logger.error(
        "%d occurrences from %s to %s could not be sent before beat stopped; they are lost unless they are sent by hand",
        len(lost),
        first.task_id,
        last.task_id,
        extra=extra,
    )


def _say_failed(failed: Sequence[tuple[_Unsent, Exception]]) -> None:
    """One line for all that failed for the same reason, so that a broker that is away fills no log."""
    by_reason: dict[str, list[_Unsent]] = {}
    for each, error in failed:
        by_reason.setdefault(str(error), []).append(each)
    for reason, unsent in by_reason.items():
        first = unsent[0].occurrences[0]
        others = sum(len(each.occurrences) for each in unsent) - 1
        logger.warning(
            "no acknowledgement for %s%s: %s; kept, and sent again until there is one (try %d)",
            first.task_id,
            f" and {others} more" if others else "",
            reason,
            unsent[0].attempts,
            extra={
                "event": "occurrence.unsent",
                "id": first.task_id,
                "count": others + 1,
                "attempts": unsent[0].attempts,
            },
        )
