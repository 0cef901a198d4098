"""The secure Kafka of the tests lets clients in with the password and keeps others out."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.support.kafka import QUIET
from tests.support.secure import SecureKafka


def brokers(secure: SecureKafka, *, tls: bool, password: str | None = None) -> list[str]:
    """Log in and return the addresses that the broker tells."""
    settings: dict[str, Any] = {
        "bootstrap.servers": secure.tls_address if tls else secure.sasl_address,
        "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": secure.username,
        "sasl.password": password or secure.password,
        "logger": QUIET,
    }
    if tls:
        settings["ssl.ca.location"] = str(secure.certificate)
    client = AdminClient(settings)
    found = client.list_topics(timeout=10).brokers.values()
    return [f"{broker.host}:{broker.port}" for broker in found]


@pytest.mark.parametrize("tls", [False, True])
def test_password_lets_in(secure_kafka: SecureKafka, tls: bool) -> None:
    address = secure_kafka.tls_address if tls else secure_kafka.sasl_address

    assert brokers(secure_kafka, tls=tls) == [address]


def test_wrong_password_keeps_out(secure_kafka: SecureKafka) -> None:
    with pytest.raises(KafkaException):
        brokers(secure_kafka, tls=False, password="wrong")
