"""A TCP proxy in front of brokers that knows just enough of Kafka's protocol to go wrong in a chosen way.

It passes bytes on unchanged, and reads of each request the API key, version, correlation id and client id (Kafka protocol guide,
"Request Header"), of each answer the correlation id. A broker's PROXIED listener advertises the proxy's address, so clients stay
behind it. TLS would hide the requests and is not understood.

Rules (`hold_answers`, `hold_requests`, `drop_answers`, `drop_requests`, `cut_at_answer`) concern API keys; `stall`, `cut` and
`refuse` concern everything. Requests and answers keep their order, so one that is held holds those behind it on the same
connection, as a slow broker or network does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from tests.support.faults import Fate, Rule, Stage
from tests.support.frames import (
    Request,
    read_correlation_id,
    read_frame,
    read_request,
    write_frame,
)
from tests.support.waiting import Deadline, moment

T = TypeVar("T")


@dataclass(frozen=True)
class Sighting:
    """One thing the proxy saw."""

    number: int
    stage: Stage
    request: Request
    connection: int
    """Counts the connections that the proxy accepted."""

    at: float
    """When it was seen, as `waiting.moment` counts."""


class Proxy:
    """The proxy, in a thread of its own. Any thread may call its methods; they return at once unless they say otherwise."""

    def __init__(self, routes: Sequence[tuple[int, int]], *, remembers: bool = True) -> None:
        """Prepare it; `with` starts it.

        Args:
            routes: For each broker the port to listen on and the port to pass on to, both on 127.0.0.1.
            remembers: Whether it keeps what it saw, for `seen` and `wait_for`: too much in a run of many minutes.
        """
        self._routes = tuple(routes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._connections: set[_Connection] = set()
        self._accepted = 0
        self._rules: list[Rule] = []
        self._remembers = remembers
        self._seen: list[Sighting] = []
        self._news = threading.Condition()
        self._flowing = asyncio.Event()
        self._refusing = False

    @property
    def bootstrap(self) -> str:
        """The address for clients; comma-separated for several brokers."""
        return ",".join(f"127.0.0.1:{listen}" for listen, _ in self._routes)

    def __enter__(self) -> Proxy:
        """Listen; blocks until it does."""
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cut all connections and end; blocks until it has."""
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- what goes wrong ---------------------------------------------------------------------------------------------------

    def hold_answers(
        self,
        *keys: int,
        seconds: float | None = None,
        count: int | None = None,
        client_id: str | None = None,
    ) -> Rule:
        """Pass answers on `seconds` later, or, without it, when the rule is removed.

        Args:
            keys: API keys (`frames.ApiKey`).
            seconds: How long each answer is held.
            count: How many requests are concerned; None is all.
            client_id: Only this client's.
        """
        return self._add(keys, Stage.ANSWER, Fate.HOLD, seconds, count, client_id)

    def hold_requests(
        self,
        *keys: int,
        seconds: float | None = None,
        count: int | None = None,
        client_id: str | None = None,
    ) -> Rule:
        """Let requests reach the broker `seconds` later, or, without it, when the rule is removed; else as `hold_answers`."""
        return self._add(keys, Stage.REQUEST, Fate.HOLD, seconds, count, client_id)

    def drop_answers(
        self, *keys: int, count: int | None = None, client_id: str | None = None
    ) -> Rule:
        """Let requests reach the broker and throw its answers away: the client waits until its own time limit."""
        return self._add(keys, Stage.ANSWER, Fate.DROP, None, count, client_id)

    def cut_at_answer(
        self, *keys: int, count: int | None = None, client_id: str | None = None
    ) -> Rule:
        """Let requests reach the broker and cut the connection instead of answering: the client knows that it does not know."""
        return self._add(keys, Stage.ANSWER, Fate.CUT, None, count, client_id)

    def drop_requests(
        self, *keys: int, count: int | None = None, client_id: str | None = None
    ) -> Rule:
        """Throw requests away before the broker sees them; nothing answers."""
        return self._add(keys, Stage.REQUEST, Fate.DROP, None, count, client_id)

    def remove(self, rule: Rule) -> None:
        """End one rule; blocks until no request is concerned by it any more."""
        self._call(self._remove([rule]))

    def stall(self) -> None:
        """Pass nothing in either direction, with all connections open and new ones accepted, as a broken network does."""
        self._soon(self._flowing.clear)

    def refuse(self) -> None:
        """Accept no new connection: clients are told so at once."""
        self._call(self._stop_listening())

    def cut(self) -> None:
        """Cut all connections; blocks until they are. New ones are accepted unless `refuse` was called."""
        self._call(self._cut())

    def pass_everything(self) -> None:
        """End whatever goes wrong: rules, stall, refusal. Blocks until new connections are accepted again."""
        self._call(self._remove(list(self._rules)))
        self._soon(self._flowing.set)
        self._call(self._listen())

    # -- what was seen -----------------------------------------------------------------------------------------------------

    def mark(self) -> int:
        """Return how many sightings there were so far, for `after` of `wait_for` and `seen`."""
        with self._news:
            return len(self._seen)

    def seen(self, *keys: int, stage: Stage = Stage.REQUEST, after: int = 0) -> list[Sighting]:
        """Return the sightings of some API keys (of all, if none is given) since a mark."""
        with self._news:
            return self._select(keys, stage, after)

    def wait_for(
        self,
        *keys: int,
        stage: Stage = Stage.REQUEST,
        count: int = 1,
        after: int = 0,
        timeout: float = 10.0,
    ) -> Sighting:
        """Block until `count` requests with one of the API keys have come to a stage since a mark; return the last of these.

        Raises:
            TimeoutError: They did not within `timeout` seconds.
        """
        deadline = Deadline(timeout)
        with self._news:
            while len(found := self._select(keys, stage, after)) < count:
                if not self._news.wait(deadline.remaining):
                    raise TimeoutError(
                        f"waited {timeout:g} s for {count} of API keys {keys} at {stage}"
                    )
        return found[count - 1]

    def note(self, stage: Stage, request: Request, connection: int) -> None:
        """Record a sighting. Only the proxy's thread calls it."""
        if not self._remembers:
            return
        with self._news:
            self._seen.append(Sighting(len(self._seen), stage, request, connection, moment()))
            self._news.notify_all()

    def _select(self, keys: Sequence[int], stage: Stage, after: int) -> list[Sighting]:
        return [
            sighting
            for sighting in self._seen[after:]
            if sighting.stage is stage and (not keys or sighting.request.api_key in keys)
        ]

    # -- in the proxy's thread ---------------------------------------------------------------------------------------------

    async def flow(self) -> None:
        """Wait while the proxy is stalled."""
        await self._flowing.wait()

    def fate(self, request: Request, stage: Stage) -> Rule | None:
        """Return the first rule that concerns a request now."""
        return next((rule for rule in self._rules if rule.takes(request, stage)), None)

    async def _listen(self) -> None:
        self._flowing.set()
        if self._servers:
            return
        for listen, target in self._routes:
            server = await asyncio.start_server(self._accept(target), "127.0.0.1", listen)
            self._servers.append(server)

    def _accept(
        self, target: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._accepted += 1
            connection = _Connection(self, self._accepted, reader, writer)
            self._connections.add(connection)
            try:
                await connection.run(target)
            finally:
                self._connections.discard(connection)

        return run

    async def _stop_listening(self) -> None:
        # First accept nothing more, then let what was accepted begin, then close: asyncio forgets a connection, and leaves its
        # socket open, whose server is closed between its being accepted and its first step.
        for server in self._servers:
            for listener in server.sockets:
                self._loop.remove_reader(listener.fileno())
        await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def _cut(self) -> None:
        connections = list(self._connections)
        for connection in connections:
            connection.cut()
        await asyncio.gather(*(connection.ended.wait() for connection in connections))

    async def _shut(self) -> None:
        await self._stop_listening()
        # More than once: a connection that was being accepted begins its own task only now, and one that was cut is closed a turn
        # of the loop later.
        quiet = 0
        while quiet < 5:
            if leftover := asyncio.all_tasks() - {asyncio.current_task()}:
                quiet = 0
                await self._cut()
                await asyncio.wait(leftover, timeout=0.05)
            else:
                quiet += 1
                await asyncio.sleep(0)

    async def _remove(self, rules: Sequence[Rule]) -> None:
        for rule in rules:
            rule.removed.set()
            with contextlib.suppress(ValueError):
                self._rules.remove(rule)

    # -- from other threads ------------------------------------------------------------------------------------------------

    def _add(
        self,
        keys: Sequence[int],
        stage: Stage,
        fate: Fate,
        seconds: float | None,
        count: int | None,
        client_id: str | None,
    ) -> Rule:
        async def add() -> Rule:
            rule = Rule(
                on_remove=self.remove,
                keys=frozenset(keys),
                stage=stage,
                fate=fate,
                seconds=seconds,
                count=count,
                client_id=client_id,
            )
            self._rules.append(rule)
            return rule

        return self._call(add())

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result(30.0)

    def _soon(self, act: Callable[[], object]) -> None:
        async def call() -> None:
            act()

        self._call(call())


class _Connection:
    """One client's connection and its own connection to the broker. Lives in the proxy's thread."""

    def __init__(
        self,
        proxy: Proxy,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.ended = asyncio.Event()
        self._number = number
        self._proxy = proxy
        self._client = reader, writer
        self._awaited: dict[int, Request] = {}
        self._pumps: list[asyncio.Task[None]] = []
        self._was_cut = False

    def cut(self) -> None:
        """Cut it, as if the network had."""
        self._was_cut = True
        for pump in self._pumps:
            pump.cancel()

    async def run(self, target: int) -> None:
        """Pass frames on until one side ends or `cut` is called."""
        client_reader, client_writer = self._client
        writers = [client_writer]
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", target)
            writers.append(broker_writer)
            if not self._was_cut:
                self._pumps = [
                    asyncio.ensure_future(self._pass_requests(client_reader, broker_writer)),
                    asyncio.ensure_future(self._pass_answers(broker_reader, client_writer)),
                ]
                await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the broker is away: the client's connection ends, as it would without a proxy
        finally:
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)
            for writer in writers:
                writer.transport.abort()
            self.ended.set()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            frame = await read_frame(reader)
            await self._proxy.flow()
            request = read_request(frame)
            self._proxy.note(Stage.REQUEST, request, self._number)
            rule = self._proxy.fate(request, Stage.REQUEST)
            if rule is not None and rule.fate is Fate.DROP:
                continue
            if rule is not None:
                await _hold(rule)
            self._awaited[request.correlation_id] = request
            await write_frame(writer, frame)

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            frame = await read_frame(reader)
            request = self._awaited.pop(read_correlation_id(frame))
            self._proxy.note(Stage.ANSWER, request, self._number)
            rule = self._proxy.fate(request, Stage.ANSWER)
            if rule is not None and rule.fate is Fate.CUT:
                return
            if rule is not None and rule.fate is Fate.DROP:
                continue
            if rule is not None:
                await _hold(rule)
            await self._proxy.flow()
            await write_frame(writer, frame)
            self._proxy.note(Stage.PASSED, request, self._number)


async def _hold(rule: Rule) -> None:
    """Wait for as long as a rule holds things."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(rule.removed.wait(), rule.seconds)
