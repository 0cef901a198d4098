from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from taskq.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from taskq.running.asynclimits import run_within
from taskq.running.limits import TimeLimits

SOON = 0.001


def run(
    work: Coroutine[Any, Any, Any], *, hard: float | None = None, soft: float | None = None
) -> Any:
    return asyncio.run(run_within(work, TimeLimits(hard, soft)))


async def _forever() -> None:
    await asyncio.Event().wait()


def test_soft_limit_is_raised_at_the_await_and_can_be_caught() -> None:
    async def tidy() -> str:
        try:
            await _forever()
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0)
            return "tidied up"
        return ""

    assert run(tidy(), soft=SOON) == "tidied up"


def test_soft_limit_that_is_let_out_is_no_cancellation_outside() -> None:
    with pytest.raises(SoftTimeLimitExceeded) as caught:
        run(_forever(), soft=SOON)

    assert caught.value.seconds == SOON
    assert not isinstance(caught.value, asyncio.CancelledError)


def test_what_a_coroutine_waits_for_is_cancelled_at_its_soft_limit() -> None:
    ended: list[str] = []

    async def inner() -> None:
        try:
            await _forever()
        finally:
            ended.append("inner")

    async def outer() -> None:
        await asyncio.wait_for(inner(), 600)

    with pytest.raises(SoftTimeLimitExceeded):
        run(outer(), soft=SOON)

    assert ended == ["inner"]


def test_hard_limit_cancels() -> None:
    seen: list[type[BaseException]] = []

    async def work() -> None:
        try:
            await _forever()
        except BaseException as error:
            seen.append(type(error))
            raise

    with pytest.raises(TimeLimitExceeded):
        run(work(), hard=SOON)

    assert seen == [asyncio.CancelledError]


def test_coroutine_that_goes_on_after_its_soft_limit_is_cancelled_at_the_hard_one() -> None:
    async def stubborn() -> None:
        try:
            await _forever()
        except SoftTimeLimitExceeded:
            await _forever()

    with pytest.raises(TimeLimitExceeded):
        run(stubborn(), soft=SOON, hard=2 * SOON)


def test_cancellation_by_others_stays_one() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        run(work(), soft=600, hard=600)


def test_what_a_coroutine_raises_or_returns_is_passed_on() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no luck")

    async def give() -> int:
        await asyncio.sleep(0)
        return 3

    with pytest.raises(ValueError, match="no luck"):
        run(fail(), soft=600)
    assert run(give(), hard=600) == 3


def test_errors_of_what_is_awaited_reach_the_coroutine() -> None:
    async def work() -> str:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(OSError("gone"))
        try:
            await future
        except OSError as error:
            return str(error)
        return ""

    assert run(work(), soft=600) == "gone"
