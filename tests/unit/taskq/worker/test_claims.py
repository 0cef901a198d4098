from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskq.worker.claims import Claims
from taskq.worker.claimwatch import OpenClaim
from taskq.worker.delivery import Delivery
from taskq.worker.progress import Progress
from tests.support.clock import FakeClock
from tests.support.fake_channel import FakeChannel
from tests.support.pools import delivery_of


class Bench:
    """One intake's claims and a channel."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.since = clock.monotonic()
        self.claims = Claims(
            "q", give_up=lambda: False, progress=Progress(clock.monotonic), clock=clock
        )
        self.channel = FakeChannel()

    def claim(self, *deliveries: Delivery) -> tuple[list[Delivery], list[Delivery]]:
        return self.claims.claim(self.channel, list(deliveries))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def late(offset: int) -> Delivery:
    delivery = delivery_of("a", offset=offset)
    delivery.late = True
    return delivery


def test_what_is_granted_may_start_and_what_is_refused_may_not(bench: Bench) -> None:
    first, second, third = (delivery_of("a") for _ in range(3))
    bench.channel.refuses = lambda tags: {second.record.delivery_tag}

    assert bench.claim(first, second, third) == ([first, third], [second])


def test_what_settles_late_is_started_and_a_suspect_of_it_alone(bench: Bench) -> None:
    plain, started, suspect = delivery_of("a", offset=1), late(2), late(3)
    suspect.is_suspect = True

    bench.claim(plain, started, suspect)

    tags = [each.record.delivery_tag for each in (plain, started, suspect)]
    assert bench.channel.claimed == tags[:1]
    assert bench.channel.started == tags[1:]
    assert bench.channel.alone == tags[2:]


def test_a_claim_is_under_way_until_it_is_handed_out(bench: Bench) -> None:
    seen: list[object] = []

    def look(tags: Sequence[int]) -> None:
        seen.append(bench.claims.open_claim)

    bench.channel.on_claim = look
    delivery = delivery_of("a")

    bench.claim(delivery)
    seen.append(bench.claims.under_way())
    bench.claims.end()

    assert seen == [OpenClaim("q", 1, bench.since), [delivery]]
    assert bench.claims.open_claim is None


def test_a_claim_without_an_answer_loses_what_does_not_settle_late(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.channel.claim_error = ConnectionError("given up")

    with pytest.raises(ConnectionError):
        bench.claim(delivery_of("a", id="plain"), late(2))

    [said] = caplog.records
    assert (getattr(said, "event", ""), getattr(said, "id", "")) == ("task.lost", "plain")
    assert bench.claims.lost == 1
    assert bench.claims.under_way() == []
