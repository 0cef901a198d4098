"""Which way to the brokers a process of a lab gets, and how it is closed and opened."""

from __future__ import annotations

import random
from typing import cast

import pytest

from tests.scenarios.lab.links import Cut, Links
from tests.support.processes import Process
from tests.support.proxy import Proxy


class FakeProxy:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stall(self) -> None:
        self.told.append("stall")

    def refuse(self) -> None:
        self.told.append("refuse")

    def cut(self) -> None:
        self.told.append("cut")

    def pass_everything(self) -> None:
        self.told.append("pass everything")


class FakeProcess:
    """One that lives until it is told otherwise."""

    is_running = True


class OneCut(random.Random):
    """Chooses one way to cut, and none other."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(0)
        self._cut = cut

    def choice(self, options: object) -> Cut:  # type: ignore[override]  # it is given nothing else here
        return self._cut


def proxies(count: int) -> list[Proxy]:
    return [cast(Proxy, FakeProxy()) for _ in range(count)]


def enter(links: Links) -> Process:
    process = cast(Process, FakeProcess())
    links.enter(process, links.choose())
    return process


def test_each_process_has_a_way_of_its_own() -> None:
    first, second = proxies(2)
    links = Links([first, second], random.Random(0))

    enter(links)

    assert links.choose() is second


def test_way_of_a_dead_process_is_free() -> None:
    first, second = proxies(2)
    links = Links([first, second], random.Random(0))
    dead = enter(links)
    enter(links)

    cast(FakeProcess, dead).is_running = False

    assert links.choose() is first


def test_nobody_starts_behind_a_closed_way() -> None:
    first, second = proxies(2)
    links = Links([first, second], random.Random(0))
    dead = enter(links)
    links.cut(dead, 60)
    cast(FakeProcess, dead).is_running = False
    enter(links)

    assert links.choose() is second


def test_process_is_cut_off_until_its_time_is_over() -> None:
    links = Links(proxies(1), random.Random(0))
    process = enter(links)
    links.cut(process, 60)

    links.mend()
    assert links.cut_off == [process]
    links.mend(at_once=True)
    assert links.cut_off == []


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (Cut.LATE, ["stall", "pass everything"]),
        (Cut.LOST, ["stall", "cut", "pass everything"]),
        (Cut.REFUSED, ["refuse", "cut", "pass everything"]),
    ],
)
def test_what_was_under_way_arrives_late_or_never(how: Cut, told: list[str]) -> None:
    (proxy,) = proxies(1)
    links = Links([proxy], OneCut(how))
    process = enter(links)

    assert links.cut(process, 0) is how
    links.mend()

    assert cast(FakeProxy, proxy).told == told
