"""Whether arguments fit a task's function: at the caller before they are sent, in the worker before they are used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskq.errors import InvalidArguments

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_MANY = 1_000_000  # positional arguments that a function with *args takes


def check_shape(task: str, args: object, kwargs: object) -> None:
    """Raise unless positional arguments are a tuple or list, and keyword arguments a mapping from names.

    Raises:
        InvalidArguments: They are something else: a text alone would be taken apart into its letters.
    """
    if not isinstance(args, (tuple, list)):
        hint = "; a tuple of one needs a comma: (x,)" if isinstance(args, (str, bytes)) else ""
        raise InvalidArguments(
            task, f"args must be a tuple or list, not {type(args).__name__}{hint}"
        )
    if not isinstance(kwargs, Mapping):
        raise InvalidArguments(task, f"kwargs must be a dict, not {type(kwargs).__name__}")
    for name in kwargs:
        if not isinstance(name, str):
            raise InvalidArguments(task, f"names of keyword arguments are text, not {name!r}")


class ArgumentCheck:
    """Checks arguments of one task. Any thread may use it."""

    __slots__ = ("_least", "_most", "_signature", "_task")

    def __init__(self, task: str, function: Callable[..., Any], *, bind: bool) -> None:
        """Read the function's signature.

        Args:
            task: The task's name, for errors.
            function: The task's function.
            bind: Whether its first parameter is the context, which no caller gives.
        """
        self._task = task
        self._signature = _signature(function, bind=bind)
        self._least, self._most = _counts(self._signature)

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise unless a call with these arguments is possible. Takes 0.2 µs without keyword arguments.

        Raises:
            InvalidArguments: It is not.
        """
        # inspect's own bind() takes 5 µs and more, a good part of a whole delay().
        if not kwargs and self._least <= len(args) <= self._most:
            return
        if self._signature is None:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(self._task, str(error)) from None


def _signature(function: Callable[..., Any], *, bind: bool) -> inspect.Signature | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # some functions written in C have none
    parameters = list(signature.parameters.values())
    if bind:
        if not parameters or parameters[0].kind not in (
            *_POSITIONAL,
            inspect.Parameter.VAR_POSITIONAL,
        ):
            raise TypeError("a task with bind=True takes the context as its first argument")
        if parameters[0].kind in _POSITIONAL:
            parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def _counts(signature: inspect.Signature | None) -> tuple[int, int]:
    """Return the least and most positional arguments of a call without keywords; (1, 0) if there is none."""
    if signature is None:
        return 0, _MANY
    least = most = 0
    for parameter in signature.parameters.values():
        needed = parameter.default is inspect.Parameter.empty
        if parameter.kind in _POSITIONAL:
            most += 1
            least += needed
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            most = _MANY
        elif parameter.kind is inspect.Parameter.KEYWORD_ONLY and needed:
            return 1, 0
    return least, most
