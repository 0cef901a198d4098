"""A Kafka that asks for a password, with and without TLS: through the command line, by URL and by environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.secure import SecureKafka
from tests.support.station import Station, station

PASSWORD_IN_URL = SecureKafka.password.replace(" ", "%20")


def by_url(secure: SecureKafka, *, tls: bool) -> dict[str, str]:
    """Return variables with name and password in the URL."""
    login = f"{secure.username}:{PASSWORD_IN_URL}"
    if not tls:
        return {"TASKQ_BROKER": f"taskq://{login}@{secure.sasl_address}"}
    return {
        "TASKQ_BROKER": f"taskqs://{login}@{secure.tls_address}",
        "TASKQ_KAFKA_SSL_CA_LOCATION": str(secure.certificate),
    }


def by_options(secure: SecureKafka, *, tls: bool) -> dict[str, str]:
    """Return variables with name and password as librdkafka's own options."""
    variables = {
        "TASKQ_BROKER": secure.tls_address if tls else secure.sasl_address,
        "TASKQ_KAFKA_SECURITY_PROTOCOL": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "TASKQ_KAFKA_SASL_MECHANISM": "PLAIN",
        "TASKQ_KAFKA_SASL_USERNAME": secure.username,
        "TASKQ_KAFKA_SASL_PASSWORD": secure.password,
    }
    if tls:
        variables["TASKQ_KAFKA_SSL_CA_LOCATION"] = str(secure.certificate)
    return variables


@pytest.fixture
def place(secure_kafka: SecureKafka, tmp_path: Path) -> Iterator[Station]:
    with station(secure_kafka.sasl_address, tmp_path, "secure") as place:
        yield place


@pytest.mark.parametrize("tls", [False, True], ids=["plaintext", "tls"])
@pytest.mark.parametrize("login", [by_url, by_options], ids=["url", "options"])
def test_send_and_worker_get_in(
    place: Station, secure_kafka: SecureKafka, login: object, tls: bool
) -> None:
    assert callable(login)
    place.variables.update(login(secure_kafka, tls=tls))
    worker = place.worker("-c", "1")

    code, text = place.command("send", "wire.note", "-a", "[1]")

    assert code == 0, text
    place.ran(text.strip())
    assert worker.stop() == 0
    assert "Traceback" not in worker.text
    assert secure_kafka.password not in worker.text
    assert PASSWORD_IN_URL not in worker.text


def wrong_password(secure: SecureKafka) -> Mapping[str, str]:
    return {**by_options(secure, tls=True), "TASKQ_KAFKA_SASL_PASSWORD": "battery staple"}


def wrong_password_in_url(secure: SecureKafka) -> Mapping[str, str]:
    return {"TASKQ_BROKER": f"taskq://{secure.username}:battery@{secure.sasl_address}"}


def wrong_authority(secure: SecureKafka) -> Mapping[str, str]:
    variables = by_url(secure, tls=True)
    del variables["TASKQ_KAFKA_SSL_CA_LOCATION"]  # those that the system trusts have not signed it
    return variables


@pytest.mark.parametrize(
    "command", [("send", "wire.note"), ("worker", "-A", "tests.support.wire_tasks")]
)
@pytest.mark.parametrize("mistake", [wrong_password, wrong_password_in_url, wrong_authority])
def test_who_is_kept_out_is_told_why_in_one_line(
    place: Station, secure_kafka: SecureKafka, mistake: object, command: tuple[str, ...]
) -> None:
    assert callable(mistake)
    place.variables.update(mistake(secure_kafka))

    code, text = place.command(*command)

    assert code == 3, text
    (line,) = text.splitlines()
    assert ("certificate" if mistake is wrong_authority else "Authentication failed") in line
    assert "battery" not in line


def test_authority_that_is_no_file_is_a_wrong_setting(
    place: Station, secure_kafka: SecureKafka
) -> None:
    place.variables.update(by_url(secure_kafka, tls=True))
    place.variables["TASKQ_KAFKA_SSL_CA_LOCATION"] = "/nowhere/ca.pem"

    code, text = place.command("send", "wire.note")

    assert code == 2, text
    (line,) = text.splitlines()
    assert "ssl.ca.location" in line
