from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.arguments import ArgumentCheck
from taskq.errors import InvalidArguments


def plain(a: int, b: int = 0) -> None: ...
def positional(a: int, b: int = 0, /, *, c: int) -> None: ...
def several(a: int, *rest: int, c: int = 0) -> None: ...
def named(a: int = 0, **rest: int) -> None: ...
def anything(*args: int, **kwargs: int) -> None: ...


FUNCTIONS: list[Callable[..., None]] = [plain, positional, several, named, anything]


@given(
    st.sampled_from(FUNCTIONS),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=3),
)
def test_it_agrees_with_a_call(
    function: Callable[..., None], args: list[Any], kwargs: dict[str, Any]
) -> None:
    check = ArgumentCheck("t", function, bind=False)
    try:
        function(*args, **kwargs)
    except TypeError:
        with pytest.raises(InvalidArguments):
            check.check(args, kwargs)
    else:
        check.check(args, kwargs)


def test_the_context_is_no_callers_argument() -> None:
    def bound(self: Any, a: int) -> None: ...

    check = ArgumentCheck("t", bound, bind=True)

    check.check((1,), {})
    with pytest.raises(InvalidArguments):
        check.check((1, 2), {})


def test_a_bound_task_must_take_a_context() -> None:
    def bound(*, a: int) -> None: ...

    with pytest.raises(TypeError):
        ArgumentCheck("t", bound, bind=True)


def test_a_function_without_signature_takes_anything() -> None:
    ArgumentCheck("t", max, bind=False).check((1, 2, 3, 4), {"x": 1})
