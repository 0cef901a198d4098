from __future__ import annotations

from typing import Any

import pytest

from taskq import App, InvalidArguments, UnknownOption
from taskq.running.limits import TimeLimits, check_rate_limit, is_header, limits_of
from taskq.task import Task


def _task(**options: Any) -> Task[..., Any, Any]:
    task: Task[..., Any, Any] = App("limits").task("a", **options)(lambda: None)
    return task


def test_a_task_has_the_limits_of_its_options() -> None:
    assert _task(time_limit=30, soft_time_limit=25).limits == TimeLimits(30, 25)
    assert _task(soft_time_limit=0.5).limits == TimeLimits(None, 0.5)
    assert _task().limits is None


@pytest.mark.parametrize("value", [0, -1, True, "30", float("nan"), float("inf"), 1e9, 10**400])
@pytest.mark.parametrize("name", ["time_limit", "soft_time_limit"])
def test_a_time_limit_is_seconds_above_0_and_at_most_a_year(name: str, value: Any) -> None:
    with pytest.raises(InvalidArguments, match=f"{name} must be seconds above 0"):
        _task(**{name: value})


@pytest.mark.parametrize("soft", [30, 31])
def test_a_soft_limit_that_is_not_below_the_hard_one_is_refused(soft: float) -> None:
    with pytest.raises(InvalidArguments, match=rf"soft_time_limit \({soft} s\) must be below"):
        _task(time_limit=30, soft_time_limit=soft)


@pytest.mark.parametrize(
    ("rate", "a_second"),
    [
        ("10/s", 10.0),
        ("100/m", 100 / 60),
        ("5/h", 5 / 3600),
        (" 0.5 / s ", 0.5),
        ("3", 3.0),
        (7, 7.0),
        (0.1, 0.1),
        (None, None),
    ],
)
def test_a_rate_is_read_as_celery_reads_it(rate: Any, a_second: float | None) -> None:
    assert check_rate_limit("a", rate) == a_second


@pytest.mark.parametrize(
    "rate",
    ["", "10/x", "/s", "10/", "-1/s", "ten/s", "10/s/m", 0, "0/s", -1, True, float("nan"), [10]],
)
def test_what_is_no_rate_is_refused_with_the_forms_there_are(rate: Any) -> None:
    with pytest.raises(InvalidArguments, match="rate_limit must be '10/s', '100/m', '5/h'"):
        _task(rate_limit=rate)


@pytest.mark.parametrize(("rate", "near"), [("10/sec", "10/s"), ("10/Min", "10/m"), ("2/d", None)])
def test_a_unit_that_is_written_otherwise_names_the_nearest(rate: str, near: str | None) -> None:
    with pytest.raises(InvalidArguments) as caught:
        check_rate_limit("a", rate)

    assert (f"did you mean '{near}'?" in str(caught.value)) is (near is not None)


def test_a_limit_that_is_misspelt_names_the_nearest() -> None:
    with pytest.raises(UnknownOption, match="did you mean 'soft_time_limit'"):
        _task(soft_timelimit=3)


def test_a_limit_at_a_call_is_said_to_be_an_option_of_the_task() -> None:
    with pytest.raises(UnknownOption, match="'time_limit' of options; it is an option of @task"):
        _task().options(time_limit=3)  # type: ignore[arg-type]  # the point


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, TimeLimits(30, 20)),
        ([None, None], TimeLimits(30, 20)),
        ([5, None], TimeLimits(5, 20)),
        ([0, 3.5], TimeLimits(30, 3.5)),
    ],
)
def test_a_message_limits_stand_before_its_tasks(header: Any, expected: TimeLimits) -> None:
    assert is_header(header) or header is None
    assert limits_of(TimeLimits(30, 20), header) == expected


def test_a_message_without_limits_of_a_task_without_has_none() -> None:
    assert limits_of(None, [None, None]) is None


@pytest.mark.parametrize(
    "header", [[1], [1, 2, 3], "30", 30, ["30", None], [-1, None], [True, None], [1e300, None], {}]
)
def test_a_header_of_another_form_is_none_of_celerys(header: Any) -> None:
    assert not is_header(header)
