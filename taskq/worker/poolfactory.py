"""From a worker's options to its pool."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from taskq.app import App
from taskq.clock import Clock
from taskq.loading import load_app
from taskq.logs import LogPlan
from taskq.running.executor import Executor
from taskq.running.interrupts import Interrupts
from taskq.sources import Sources
from taskq.worker.options import WorkerOptions
from taskq.worker.pools.protocol import Pool


def make_pool(
    app: App,
    options: WorkerOptions,
    plan: LogPlan,
    *,
    modules: Sequence[str],
    sources: Sources,
    clock: Clock,
) -> Pool:
    """Return the pool that the options name; nothing is started.

    Args:
        app: The app, with all its tasks.
        options: Kind and size.
        plan: How log lines are made.
        modules: `MODULE` or `MODULE:APP` each, as they were given: pool processes import them.
        sources: Where the app's settings came from; pool processes get the same.
        clock: For the pool.
    """
    # Each pool is imported where it is wanted: a worker has one, and asyncio alone is 4 MB.
    if options.pool == "prefork":
        from taskq.worker.pools.child import ChildSetup
        from taskq.worker.pools.prefork import PreforkPool

        setup = ChildSetup(
            partial(load_pool_app, tuple(modules), sources),
            plan,
            max_tasks=app.settings.max_tasks_per_child,
            max_memory=app.settings.max_memory_per_child,
        )
        names = [module.partition(":")[0] for module in modules]
        return PreforkPool(options.concurrency, setup, names, clock)
    from taskq.worker.pools.alarms import SignalAlarm, ThreadAlarm

    alarm = SignalAlarm(cancels=True) if options.pool == "solo" else ThreadAlarm(clock)
    executor = Executor(app, plan, clock, alarm=alarm, interrupts=Interrupts())
    if options.pool == "threads":
        from taskq.worker.pools.threads import ThreadsPool

        return ThreadsPool(options.concurrency, executor)
    if options.pool == "asyncio":
        from taskq.worker.pools.aio import AsyncioPool

        return AsyncioPool(options.concurrency, executor)
    from taskq.worker.pools.solo import SoloPool

    return SoloPool(executor)


def load_pool_app(modules: Sequence[str], sources: Sources) -> App:
    """Return the app in a pool process: the same modules, the same settings."""
    app = load_app(modules, sources.directory)
    app.adopt(sources)
    return app
