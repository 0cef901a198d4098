"""Users' code as mypy sees it: never run.

Lines marked `refused` are wrong, and mypy must say so: in strict mode an ignore that is not needed is an error itself.
"""

from __future__ import annotations

import taskq
from taskq import AsyncResult, Context, Reject, Retry, send_task, task
from taskq.testing import AppOnMemory, Run, on_memory


@task
def bare(number: int) -> str:
    return str(number)


@task("named", queue="billing", aliases=("old",), dead_letter=False)
def named(customer: str, amount: int = 1) -> int:
    return amount


@task("limited", time_limit=30, soft_time_limit=2.5, rate_limit="10/s")
def limited(number: int) -> int:
    return number


@task("bound", bind=True, acks_late=True, max_deliveries=3)
def bound(self: Context, number: int) -> int:
    return self.request.retries + self.request.deliveries + number


@task("retried", autoretry_for=(ConnectionError, OSError), max_retries=None, retry_backoff=True)
def retried(number: int) -> int:
    if number < 0:
        raise Reject("negative", requeue=True)
    raise Retry(countdown=2.5, exc=ValueError("x"))


@task("asking", bind=True, autoretry_for=OSError, retry_backoff=0.5, default_retry_delay=3)
def asking(self: Context, number: int) -> int:
    if number > 3:
        raise self.retry(countdown=60, max_retries=5)  # as Celery's users write it
    try:
        return 1 // number
    except ZeroDivisionError as error:
        self.retry(exc=error)


@task
async def fetch(url: str) -> bytes:
    return url.encode()


@task("bound_fetch", bind=True)
async def bound_fetch(self: Context, url: str) -> bytes:
    return url.encode()


@task("report", cron="0 5 * * *", timezone="Europe/Lisbon", kwargs={"region": "south"})
def report(region: str) -> int:
    return len(region)


@task("sweep", cron="@every 90s", dialect="standard", bind=True)
def sweep(self: Context) -> None: ...


plain: str = bare(1)
sent_report: AsyncResult[int] = report.delay("north")
sent_sweep: AsyncResult[None] = sweep.delay()
sent: AsyncResult[str] = bare.delay(1)
sent_limited: AsyncResult[int] = limited.delay(3)
sent_bound: AsyncResult[int] = bound.delay(3)
sent_async: AsyncResult[bytes] = fetch.delay("x")
sent_bound_async: AsyncResult[bytes] = bound_fetch.delay("x")
sent_retried: AsyncResult[int] = retried.delay(3)
sent_asking: AsyncResult[int] = asking.delay(3)
sent_options: AsyncResult[int] = named.options(queue="q", key="k").delay("ACME", amount=3)
sent_many: list[AsyncResult[int]] = named.delay_many([("ACME", 3), ("Globex",)])
sent_apply: AsyncResult[int] = named.apply_async(("ACME",), {"amount": 3}, task_id="x")
sent_by_name = send_task("named", ("ACME",), queue="billing")


async def use() -> tuple[bytes, AsyncResult[bytes], AsyncResult[int]]:
    return (
        await fetch("x"),
        await fetch.adelay("x"),
        await named.options(key="k").adelay("ACME"),
    )


def test_orders(taskq_app: AppOnMemory) -> list[str]:
    ran: list[Run] = taskq_app.run_until_idle(raise_errors=False)
    taskq_app.clock.advance(60)
    return [run.task for run in ran] + [sent.id for sent in taskq_app.sent]


with on_memory() as testing:
    first_reason: str | None = testing.dead_letters[0].reason

bare("x")  # type: ignore[arg-type]  # refused
bare.delay("x")  # type: ignore[arg-type]  # refused
bare.delay()  # type: ignore[call-arg]  # refused
named.delay("ACME", 3, 4)  # type: ignore[call-arg]  # refused
named.delay("ACME", amout=3)  # type: ignore[call-arg]  # refused
named.options(queue="q").delay(3)  # type: ignore[arg-type]  # refused
named.options(priority=3)
named.apply_async(("ACME",), priority=3)
named.apply_async(("ACME",), priority="high")  # type: ignore[arg-type]  # refused
bound.delay("x")  # type: ignore[arg-type]  # refused
fetch.delay(3)  # type: ignore[arg-type]  # refused
wrong: AsyncResult[int] = fetch.delay("x")  # type: ignore[assignment]  # refused
task("x", max_deliveries="3")  # type: ignore[call-overload]  # refused
task("x", time_limit="30")  # type: ignore[call-overload]  # refused
task("x", quue="y")  # type: ignore[call-overload]  # refused
taskq.configure(1)  # type: ignore[call-arg]  # refused
task("x", autoretry_for=("OSError",))  # type: ignore[arg-type]  # refused
task("x", max_retries="3")  # type: ignore[call-overload]  # refused
