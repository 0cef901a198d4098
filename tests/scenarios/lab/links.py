"""Each process's own way to the brokers, which can be closed while the process runs on, and all others stay connected."""

from __future__ import annotations

import enum
import random
from collections.abc import Sequence

from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.waiting import Deadline


class Cut(enum.Enum):
    """How a process is cut off."""

    LATE = "nothing passes, and then all that was under way arrives"
    LOST = "nothing passes, and then the connections are cut: what was under way is lost"
    REFUSED = "the connections are cut, and new ones refused"


class Links:
    """Proxies (`behind_proxies`), the processes behind them, and who of these is cut off. One thread uses it."""

    def __init__(self, proxies: Sequence[Proxy], dice: random.Random) -> None:
        """Prepare.

        Args:
            proxies: Running ones, each a way to all brokers.
            dice: Chooses how a process is cut off.
        """
        self._dice = dice
        self._users: dict[Proxy, list[Process]] = {proxy: [] for proxy in proxies}
        self._proxy_of: dict[Process, Proxy] = {}
        self._cut: dict[Process, tuple[Cut, Deadline]] = {}

    @property
    def cut_off(self) -> list[Process]:
        """Who has no connection now, or had none a moment ago."""
        return list(self._cut)

    def choose(self) -> Proxy:
        """Return an open way for one more process: one that nobody uses, or else few do, as those that are on their way out."""
        blocked = {self._proxy_of[process] for process in self._cut}
        return min((each for each in self._users if each not in blocked), key=self._living)

    def enter(self, process: Process, proxy: Proxy) -> None:
        """Note that a process connects through a proxy."""
        self._proxy_of[process] = proxy
        self._users[proxy].append(process)

    def cut(self, process: Process, seconds: float) -> Cut:
        """Keep a process from all brokers for a while; return how."""
        proxy, how = self._proxy_of[process], self._dice.choice(list(Cut))
        if how is Cut.REFUSED:
            proxy.refuse()
            proxy.cut()
        else:
            proxy.stall()
        self._cut[process] = (how, Deadline(seconds))
        return how

    def mend(self, *, at_once: bool = False) -> None:
        """Connect those again whose time is over, or all."""
        over = [each for each, (_, end) in self._cut.items() if at_once or end.is_over]
        for process in over:
            proxy, (how, _) = self._proxy_of[process], self._cut.pop(process)
            if how is Cut.LOST:
                proxy.cut()
            proxy.pass_everything()

    def _living(self, proxy: Proxy) -> int:
        return sum(process.is_running for process in self._users[proxy])
