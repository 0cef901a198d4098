"""The processes of `taskq dev` together: starts them, prints what they print, ends them. What happens when is in runner.py."""

from __future__ import annotations

import functools
import os
import selectors
from collections.abc import Callable, Sequence

from taskq.clock import Clock
from taskq.dev.child import Child, ChildPlan
from taskq.dev.terminal import Terminal
from taskq.errors import UsageError

_TICK = 0.05
"""Seconds between two looks at processes that are ending: what they leave behind announces itself to nobody."""

_LEFT_BEHIND_SECONDS = 2.0
"""For the helpers of a pool to see that their worker is gone, before they are killed."""

_AT_ONCE_SECONDS = 1.0
"""For a worker to name what is lost, before it is killed."""


class Crew:
    """Processes, and the one place where their output is waited for. One thread."""

    def __init__(self, terminal: Terminal, clock: Clock) -> None:
        """Start with nobody.

        Args:
            terminal: Where all is printed.
            clock: For the patience with those that are to end.
        """
        self._terminal = terminal
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._children: dict[str, Child] = {}
        self._ended: set[Child] = set()
        self.lifeline, self._lifeline_end = os.pipe()
        """What ends when this process does, see cli/devchild.py."""

    def start(self, plan: ChildPlan) -> None:
        """Start a process; one of its name that has ended is forgotten.

        Raises:
            UsageError: It cannot be started.
        """
        if plan.name in self._children:
            self._forget(self._children[plan.name])
        try:
            child = Child(plan)
        except OSError as error:
            raise UsageError(f"cannot start {plan.command[0]!r}: {error.strerror}") from error
        self._children[plan.name] = child
        for pipe in child.pipes:
            self.listen(pipe, functools.partial(self._pass_on, child, pipe))

    def named(self, *names: str) -> Sequence[Child]:
        """Return the processes of these names that were started."""
        return [self._children[name] for name in names if name in self._children]

    def listen(self, descriptor: int, react: Callable[[], None]) -> None:
        """Have something else called by `turn` when a file descriptor becomes readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, react)

    def turn(self, timeout: float | None = None) -> None:
        """Wait until something happens, at most `timeout` seconds, and react to it. A process that ends is no event by itself."""
        for key, _ in self._selector.select(timeout):
            key.data()

    def newly_ended(self) -> Sequence[Child]:
        """Return the processes that have ended since the last call; all that they printed is printed."""
        ended = [child for child in self._children.values() if child.has_ended]
        new = [child for child in ended if child not in self._ended]
        for child in new:
            self._ended.add(child)
            self._print_rest(child)
        return new

    def end(self, children: Sequence[Child]) -> None:
        """Ask processes to end and wait until all that they started is gone; kill what takes too long."""
        for child in children:
            child.ask()
        for child in children:
            if not self._wait(lambda child=child: child.has_ended, child.plan.patience):  # type: ignore[misc]  # mypy: no default
                self._terminal.say(
                    f"{child.name} has not ended within {child.plan.patience:g} s: killed"
                )
                child.kill()
        self._wait(lambda: all(child.is_gone for child in children), _LEFT_BEHIND_SECONDS)
        for child in children:
            child.kill()
            self._print_rest(child)

    def end_now(self) -> None:
        """End all at once: a worker names what is lost, everything else is killed."""
        children = list(self._children.values())
        for child in children:
            child.end_now()
        self._wait(lambda: all(child.has_ended for child in children), _AT_ONCE_SECONDS)
        for child in children:
            child.kill()
            self._print_rest(child)

    def close(self) -> None:
        """Kill what is left of anybody."""
        for child in self._children.values():
            self._forget(child)
        self._selector.close()
        os.close(self.lifeline)
        os.close(self._lifeline_end)

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Pass on output until something is true; return whether it is, at most `seconds` later."""
        deadline = self._clock.monotonic() + seconds
        while not done():
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                return done()
            self.turn(min(_TICK, remaining))
        return True

    def _pass_on(self, child: Child, pipe: int) -> None:
        for stream, line in child.read(pipe):
            self._terminal.line(stream, child.name, line)
        if pipe not in child.pipes:
            self._selector.unregister(pipe)

    def _print_rest(self, child: Child) -> None:
        before = child.pipes
        for stream, line in child.read_rest():
            self._terminal.line(stream, child.name, line)
        for pipe in set(before).difference(child.pipes):
            self._selector.unregister(pipe)

    def _forget(self, child: Child) -> None:
        for pipe in child.pipes:
            self._selector.unregister(pipe)
        child.close()
        self._ended.discard(child)
