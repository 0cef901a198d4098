"""The texts are librdkafka's own, as it wrote them against such ports."""

from __future__ import annotations

import pytest

from taskq_kafka.answers import read_answer
from taskq_kafka.errors import AuthenticationFailed, BrokerUnreachable

TOO_LARGE = "h:1/bootstrap: Receive failed: Invalid response size {} (0..100000000): increase receive.message.max.bytes"
HTTP, SSH, TLS_ALERT = 1213486160, 1397966893, 0x15030300


@pytest.mark.parametrize(
    ("size", "why", "advice"),
    [
        (HTTP, "what answers there is not Kafka but HTTP", "name the port of a Kafka broker"),
        (SSH, "what answers there is not Kafka", "name the port of a Kafka broker"),
        (TLS_ALERT, "it answers in TLS", "use taskqs://"),
        (-1, "what answers there is not Kafka", "name the port of a Kafka broker"),
    ],
)
def test_first_bytes_tell_who_answers(size: int, why: str, advice: str) -> None:
    found = read_answer(TOO_LARGE.format(size))

    assert found[0] == why
    assert advice in found[1]


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        (
            "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate",
            "ssl.ca.location",
        ),
        (
            "SSL handshake failed: Disconnected: connection reset by peer: connecting to a PLAINTEXT broker listener?",
            "use taskq://",
        ),
        ("SSL handshake failed: error:0A00010B:SSL routines::wrong version number", "use taskq://"),
        (
            "Disconnected while requesting ApiVersion: (connecting to a SSL listener?)",
            "use taskqs://",
        ),
        ("SASL Handshake not supported by broker (required by mechanism PLAIN)", "takes no login"),
        ("SASL authentication error: Authentication failed: Invalid username", "user and password"),
        ("Connect to ipv4#127.0.0.1:1 failed: Connection refused", ""),
    ],
)
def test_advice_fits_what_was_answered(why: str, advice: str) -> None:
    told, found = read_answer(why)

    assert told == why
    assert advice in found
    assert bool(advice) == bool(found)


def test_errors_give_the_advice() -> None:
    assert "use taskqs://" in str(BrokerUnreachable("h:1", TOO_LARGE.format(TLS_ALERT)))
    assert "start it" in str(BrokerUnreachable("h:1", "refused"))
    assert "check user, password" in str(AuthenticationFailed("h:1", "no"))
