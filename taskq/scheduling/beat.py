"""Beat: brings schedules into their log, and owns shards of it with the other beats, so that what is due is sent once.

What a load means is decided in `reconcile`, what is due in `scheduleshard`; here are the sources, the threads and the clock.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from taskq.app import App
from taskq.clock import Clock, SystemClock
from taskq.errors import TaskqError, UsageError
from taskq.instants import write_seconds
from taskq.logs import quiet_client
from taskq.neighbours import shared, shared_lines, unloaded, unloaded_line
from taskq.scheduling.reconcile import Offer, is_in_force, is_whole
from taskq.scheduling.scheduleloader import ScheduleLoader, check_apart, say
from taskq.scheduling.schedulelog import GROUP, LOG, Manifest
from taskq.scheduling.scheduleshard import ScheduleShard
from taskq.scheduling.schedulesource import ScheduleSource, offers_of_code
from taskq.scheduling.standby import StandBy
from taskq.timing.hostthread import HostThread, timekeeper
from taskq.timing.shards import Shard

logger = logging.getLogger(__name__)

_TURN = 0.5
"""Seconds between two looks at the files and the clock."""

_CHECKED = 30.0
"""Seconds between two looks at what is in force."""

_CLAIMED = 3
"""Looks until an id is taken out that another source had: whoever has that source still has looked at least once meanwhile."""

_STOP = 10.0
"""Seconds for the threads to hand over their shards; it takes a fraction of one, unless the broker is away."""


@dataclass(slots=True)
class _Loaded:
    """What is known of a source's last load."""

    offer: Offer
    looks: int = 0
    """How many are to come until it is loaded once more: a beat that loaded at the same moment may have mixed with it."""

    left: Sequence[str] = ()
    """The ids that it has no more and that whoever has them elsewhere may claim until then."""

    complaint: str = ""
    """The load in force that was warned of."""

    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The ids that are in force as others have them, as it was said last."""


@dataclass(slots=True)
class _Namespace:
    """What is known of a namespace beside what is loaded here."""

    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    """As they were when it was looked at."""

    unloaded: Mapping[str, int] = field(default_factory=dict)
    """The sources that are loaded elsewhere, or by nobody, as it was said last."""


class Beat:
    """Loads schedules and sends what is due, together with all other beats of the same namespaces. One thread is in `run`.

    Each occurrence is one transaction with its schedule's next state, of the one owner of its shard: whenever a beat dies, another
    goes on where the log ends. Here is nothing that has to outlive the process. It also keeps the time of waiting
    tasks, as workers do.
    """

    def __init__(
        self,
        app: App,
        files: Sequence[str],
        *,
        namespace: str | None = None,
        replace: bool = False,
        modules: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        """Take what to send; nothing is read or connected yet.

        Args:
            app: Where tasks are sent, and what knows their queues and the schedules in code.
            files: Paths of schedule files.
            namespace: Where the ids are unique; None: for each file its name without its ending, for each module its name.
            replace: Whether a load may remove every schedule that came from its origin before.
            modules: What the app was loaded from; beat warns of tasks that none of them has.
            clock: What tells the time.

        Raises:
            UsageError: There is no schedule at all, or a namespace is not allowed.
        """
        entries = [(task.module, task.schedule) for task in app.registry if task.schedule]
        self._code = offers_of_code(entries, modules, namespace)
        if not files and not self._code:
            raise UsageError(
                "beat has no schedule; name a file with -s FILE or in the setting 'schedule', "
                f"or a module with tasks that have a cron with -A{_hint(modules)}"
            )
        self._app = app
        self._sources = [ScheduleSource(path, namespace) for path in dict.fromkeys(files)]
        self._clock: Clock = clock or SystemClock()
        self._standby = StandBy(self._clock)
        self._host = socket.gethostname()
        self._loader = ScheduleLoader(
            app,
            self._clock,
            host=self._host,
            pid=os.getpid(),
            replaces_all=replace,
            warns=bool(modules),
        )
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._namespaces: dict[str, _Namespace] = {}
        self._threads: list[HostThread] = []
        self._timekeeper = timekeeper(app.broker, self._clock)
        self._stop = threading.Event()
        self._next_check = 0.0
        self.is_running = False
        """Whether it has begun: before that it may end at once, and nothing has to be handed over."""

    def stop(self) -> None:
        """Let `run` hand over and return. Any thread may call it; not a signal handler of the thread in `run`."""
        self._stop.set()

    def run(self) -> int:
        """Load the sources and send what is due until `stop` is called. Blocks.

        Returns:
            How many threads did not end in time: what they own is taken over as from a dead process.

        Raises:
            ScheduleFileError: A file cannot be used.
            UsageError: Another beat has other schedules under a namespace.
            BrokerUnreachable: No broker answered within `connect_timeout` seconds; once it runs, beat waits for the broker.
            BrokerRefused: The broker does not allow what beat needs.
        """
        self.start()
        try:
            while not self._stop.is_set():
                if not self._clock.wait(self._stop, _TURN):
                    self._safe_turn()
                    self._raise_failure()
        finally:
            stuck = self._end()
        return stuck

    def start(self) -> None:
        """Load the sources and start to own shards; raises as `run`."""
        offers = [source.offer(source.read()) for source in self._sources] + self._code
        check_apart(offers)
        with quiet_client():
            self._loader.check()
            for offer in offers:
                self._load(offer)
        for offer in offers:
            self._loader.warn_of_unknown_tasks(offer)
        self._namespaces = {offer.namespace: _Namespace() for offer in offers}
        for namespace in self._namespaces:
            self._look_around(namespace)
        self._threads = [self._schedules_of(namespace) for namespace in self._namespaces]
        self._next_check = self._clock.monotonic() + _CHECKED
        self._standby.look()
        for thread in self._threads:
            thread.start()
        self._timekeeper.start()
        self.is_running = True
        count = sum(len(offer.entries) for offer in offers)
        logger.info(
            "beat is ready: %d schedules from %s, broker %s",
            count,
            ", ".join(f"{offer.source} (namespace {offer.namespace})" for offer in offers),
            self._app.broker.address,
            extra={"event": "beat.started", "schedules": count},
        )

    def _safe_turn(self) -> None:
        try:
            self.turn()
        except Exception:
            logger.exception(
                "a turn of beat failed; it goes on, and what is due is sent all the same",
                extra={"event": "beat.turn_failed"},
            )

    def turn(self) -> None:
        """Look at the clock and the files, and now and then at what is in force."""
        self._standby.look()
        for source in self._sources:
            self._reload(source)
        if self._clock.monotonic() >= self._next_check:
            self._next_check = self._clock.monotonic() + _CHECKED
            for namespace in self._namespaces:
                self._check(namespace)

    # Threads

    def _schedules_of(self, namespace: str) -> HostThread:
        """Return the thread that owns shards of a namespace's schedules."""

        def open_shard(partition: int) -> Shard:
            return ScheduleShard(
                namespace,
                queue_of=self._app.queue_of,
                priority_of=self._app.priority_of,
                format=self._app.format,
                watching_since=lambda: self._standby.since,
                host=self._host,
            )

        return HostThread(
            f"schedules of {namespace}",
            self._app.broker,
            self._clock,
            log=LOG,
            group=f"{GROUP}{namespace}",
            open_shard=open_shard,
            now_ms=self._standby.now_ms,
        )

    def _raise_failure(self) -> None:
        """Raise why a thread has ended, if one has: without it beat would look alive and send nothing."""
        for thread in self._threads:
            if thread.failure is not None:
                raise thread.failure

    def _end(self) -> int:
        """Hand over all shards; returns how many threads did not end in time."""
        for thread in self._threads:
            thread.stop()
        self._timekeeper.stop()
        end = self._clock.monotonic() + _STOP
        stuck = [
            thread for thread in self._threads if not thread.join(end - self._clock.monotonic())
        ]
        for thread in stuck:
            logger.error(
                "%s could not be handed over in %.0f s; the other beats take over as from a dead process",
                thread.name,
                _STOP,
                extra={"event": "beat.stuck", "host": thread.name},
            )
        # What it owned is taken over in any case, and it has said why it cannot let go.
        self._timekeeper.join(end - self._clock.monotonic())
        logger.info("beat has stopped", extra={"event": "beat.stopped"})
        return len(stuck)

    # Loading

    def _load(self, offer: Offer, *, is_repeated: bool = False) -> None:
        place = offer.namespace, offer.origin
        before = self._loaded.get(place)
        kept = before.left if before is not None and before.looks else ()
        plan = self._loader.load(offer, is_repeated=is_repeated, kept=kept)
        looks = _CLAIMED if plan.left else int(bool(plan.writes))
        said = before.shared if before is not None and is_repeated else {}
        self._loaded[place] = _Loaded(offer, looks, plan.left, shared=said)

    def _reload(self, source: ScheduleSource) -> None:
        file = source.read_if_changed()
        if file is None:
            return
        offer = source.offer(file)
        key = offer.namespace, offer.origin
        others = [loaded.offer for place, loaded in self._loaded.items() if place != key]
        try:
            check_apart([*others, offer])
            self._load(offer)
        except TaskqError as error:
            source.refuse(error)
        else:
            source.accept()
            self._loader.warn_of_unknown_tasks(offer)

    def _check(self, namespace: str) -> None:
        """Look at what is in force of a namespace, and mend what others have changed."""
        try:
            manifests = self._loader.manifests(namespace)
            for loaded in self._own(namespace):
                self._check_one(loaded, manifests.get(loaded.offer.origin))
            if manifests != self._namespaces[namespace].manifests:
                self._look_around(namespace)
        except TaskqError:
            return  # the broker is away, which the threads say

    def _check_one(self, loaded: _Loaded, manifest: Manifest | None) -> None:
        """Warn where another beat has loaded something else since, and mend what two loads at once have mixed."""
        offer = loaded.offer
        if manifest is None or is_in_force(offer, manifest):
            is_due, loaded.looks = loaded.looks == 1, max(0, loaded.looks - 1)
            if is_due or not is_whole(offer, manifest):
                self._load(offer, is_repeated=True)
            return
        if loaded.complaint == manifest.load.digest:
            return
        loaded.complaint = manifest.load.digest
        logger.warning(
            "what %s holds here is not in force: the beat on %s loaded another content at %s, and the last load wins",
            offer.source,
            manifest.load.host,
            write_seconds(manifest.load.at),
            extra={"event": "schedule.not_in_force", "namespace": offer.namespace},
        )

    def _look_around(self, namespace: str) -> None:
        """Say what else is in force in a namespace, and what of ours is not, where that has changed."""
        shelf = self._loader.shelf(namespace)
        known, own = self._namespaces[namespace], self._own(namespace)
        known.manifests = shelf.manifests
        for loaded in own:
            found = shared(loaded.offer, shelf)
            if found != loaded.shared:
                loaded.shared = found
                say(shared_lines(loaded.offer, found))
        others = unloaded(shelf, {loaded.offer.origin for loaded in own})
        if others != known.unloaded:
            known.unloaded = others
            if others:
                say([unloaded_line(namespace, others)])

    def _own(self, namespace: str) -> Sequence[_Loaded]:
        """Return what this beat has loaded of a namespace."""
        return [loaded for (where, _), loaded in self._loaded.items() if where == namespace]


def _hint(modules: Sequence[str]) -> str:
    """Return how to be rid of schedules that modules had before, as these go on."""
    names = " ".join(f"--source code:{text.partition(':')[0]}" for text in modules)
    return (
        f"; if they had some before, these are removed by: taskq schedule remove {names}"
        if names
        else ""
    )
