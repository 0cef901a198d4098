"""What the user may say, and what librdkafka gets of it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import pytest

from taskq_kafka.errors import ConfigInvalid
from taskq_kafka.options import TransportOptions


class Client:
    """As much of a kombu.Connection as is read."""

    def __init__(self, hostname: str | None = None, **given: Any) -> None:
        self.hostname = hostname
        self.port = given.get("port")
        self.userid = given.get("userid")
        self.password = given.get("password")
        self.ssl = given.get("ssl", False)
        self.transport_cls = given.get("transport_cls", "taskq")
        self.transport_options = given.get("transport_options", {})


def parsed(hostname: str | None = None, **given: Any) -> TransportOptions:
    return TransportOptions.from_kombu(Client(hostname, **given))


@pytest.mark.parametrize(
    ("url", "bootstrap"),
    [
        ("taskq://h", "h:9092"),
        ("taskq://h:9093", "h:9093"),
        ("taskq://h:9093/", "h:9093"),
        ("taskq://h1:9093,h2", "h1:9093,h2:9092"),
        ("taskq://h1,taskq://h2:1", "h1:9092,h2:1"),
        ("taskq://[::1]:9093,[fe80::1]", "[::1]:9093,[fe80::1]:9092"),
        ("taskq://", "localhost:9092"),
        ("taskq://u:p@h1:1,h2:2", "h1:1,h2:2"),
    ],
)
def test_url_names_the_bootstrap_servers(url: str, bootstrap: str) -> None:
    assert parsed(url).bootstrap == bootstrap


@pytest.mark.parametrize(
    ("fields", "bootstrap"),
    [
        ({"hostname": "h", "port": 9093}, "h:9093"),
        ({"hostname": "h1,h2", "port": 9093}, "h1:9092,h2:9093"),
        ({"hostname": "::1", "port": 9093}, "[::1]:9093"),
        ({"hostname": None, "port": None}, "localhost:9092"),
    ],
)
def test_parts_that_kombu_has_parsed_name_them_too(fields: Any, bootstrap: str) -> None:
    assert parsed(**fields).bootstrap == bootstrap


def test_user_and_password_are_a_sasl_login() -> None:
    config = parsed("taskq://us%40er:p%40ss%3A@h").admin_config()

    assert config["security.protocol"] == "sasl_plaintext"
    assert config["sasl.mechanism"] == "PLAIN"
    assert (config["sasl.username"], config["sasl.password"]) == ("us@er", "p@ss:")


def test_login_over_tls_is_encrypted() -> None:
    assert parsed("taskqs://u:p@h").admin_config()["security.protocol"] == "sasl_ssl"


def test_taskqs_means_tls() -> None:
    assert parsed("taskqs://h").admin_config()["security.protocol"] == "ssl"
    assert parsed("h", transport_cls="taskqs").tls


def test_plain_url_says_nothing_of_security() -> None:
    assert "security.protocol" not in parsed("taskq://h").admin_config()


def test_tls_cannot_be_switched_off_behind_a_taskqs_url() -> None:
    with pytest.raises(ConfigInvalid, match="taskqs"):
        parsed("taskqs://h", transport_options={"kafka": {"security.protocol": "sasl_plaintext"}})


def test_password_may_be_a_callable() -> None:
    assert parsed("h", userid="u", password=lambda: "p").password == "p"


def test_ssl_dict_of_kombu_is_understood() -> None:
    given = {"ca_certs": "/ca.pem", "ssl_certfile": "/c.pem", "cert_reqs": ssl.CERT_NONE}

    config = parsed("h", ssl=given).admin_config()

    assert config["security.protocol"] == "ssl"
    assert config["ssl.ca.location"] == "/ca.pem"
    assert config["ssl.certificate.location"] == "/c.pem"
    assert config["enable.ssl.certificate.verification"] == "false"


def test_unknown_ssl_option_is_named() -> None:
    with pytest.raises(ConfigInvalid) as raised:
        parsed("h", ssl={"ca_cert": "/ca.pem"})

    assert raised.value.near == "ca_certs"


@pytest.mark.parametrize(
    "url",
    [
        "kafka://h",
        "taskq://h:port",
        "taskq://h:0",
        "taskq://h:70000",
        "taskq://h/path",
        "taskq://h?group=x",
        "taskq://h1,,h2",
        "taskq://h 1",
    ],
)
def test_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        parsed(url)

    assert raised.value.option == "broker"


def test_unknown_transport_option_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigInvalid) as raised:
        parsed("h", transport_options={"publish_timeuot": 3})

    assert (raised.value.option, raised.value.near) == ("publish_timeuot", "publish_timeout")


def test_options_that_kombu_reads_itself_are_left_to_it() -> None:
    assert parsed("h", transport_options={"max_retries": 3, "group": "g"}).group == "g"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_timeout", 0),
        ("session_timeout", "6"),
        ("publish_timeout", -1),
        ("publish_timeout", float("nan")),
        ("partitions", 0),
        ("partitions", 1.5),
        ("partitions", True),
        ("replication", 0),
        ("auto_create", "no"),
        ("group_protocol", "consumr"),
        ("heartbeat", 5.0),
        ("prefix", 3),
    ],
)
def test_impossible_value_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        parsed("h", transport_options={name: value})

    assert raised.value.option == name


@pytest.mark.parametrize(("session", "heartbeat"), [(6.0, 1000), (1.0, 333), (45.0, 1000)])
def test_heartbeat_is_a_second_or_a_third_of_the_session(session: float, heartbeat: int) -> None:
    options = TransportOptions(session_timeout=session)

    assert options.heartbeat_ms == heartbeat
    assert options.consumer_config("g", "classic")["heartbeat.interval.ms"] == str(heartbeat)


@pytest.mark.parametrize(
    "name",
    [
        "enable.auto.commit",
        "acks",
        "group.id",
        "isolation.level",
        "max.in.flight",
        "message.timeout.ms",
    ],
)
def test_options_that_the_guarantees_stand_on_are_ours(name: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        TransportOptions(kafka={name: "1"})

    assert raised.value.option == f"kafka.{name}"


def test_librdkafka_options_go_to_the_clients_that_know_them() -> None:
    options = TransportOptions(
        kafka={"linger.ms": 5, "fetch.min.bytes": 7, "socket.nagle.disable": True}
    )

    producer, consumer = options.producer_config(), options.consumer_config("g", "classic")

    assert (producer["linger.ms"], producer["socket.nagle.disable"]) == ("5", "true")
    assert "fetch.min.bytes" not in producer
    assert consumer["fetch.min.bytes"] == "7"
    assert "linger.ms" not in consumer
    assert "linger.ms" not in options.admin_config()


def test_kip_848_member_gets_no_option_that_is_the_groups() -> None:
    config = TransportOptions().consumer_config("g", "consumer")

    assert config["group.protocol"] == "consumer"
    assert not config.keys() & {
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "partition.assignment.strategy",
    }


def test_classic_member_has_its_session() -> None:
    config = TransportOptions(session_timeout=10, heartbeat=2).consumer_config("g", "classic")

    assert config["session.timeout.ms"] == "10000"
    assert config["heartbeat.interval.ms"] == "2000"
    assert config["partition.assignment.strategy"] == "cooperative-sticky"


def test_a_users_choice_of_compression_does_not_rule_what_has_to_be_compressed() -> None:
    options = TransportOptions(kafka={"compression.codec": "lz4", "message.max.bytes": 1_000_000})

    config = options.compressing_config()

    assert (config["compression.type"], config["message.max.bytes"]) == ("zstd", "1000000000")
    assert "compression.codec" not in config


def test_many_records_at_once_are_collected_and_single_ones_are_not() -> None:
    options = TransportOptions()

    assert options.producer_config()["linger.ms"] == "0"
    assert options.bulk_config() == {
        **options.producer_config(),
        "linger.ms": "1",
        "error_cb": ANY,
    }


@pytest.mark.parametrize("name", ["linger.ms", "queue.buffering.max.ms"])
def test_how_long_records_are_collected_is_the_users_to_say(name: str) -> None:
    options = TransportOptions(kafka={name: 7})

    assert options.bulk_config() == {**options.producer_config(), "error_cb": ANY}


def every_config() -> Iterator[dict[str, Any]]:
    options = TransportOptions()
    yield options.producer_config()
    yield options.bulk_config()
    yield options.compressing_config()
    yield options.admin_config()
    yield options.reader_config()
    yield options.consumer_config("g", "classic")
    yield options.consumer_config("g", "consumer")


@pytest.mark.parametrize("config", list(every_config()))
def test_no_client_makes_topics_by_looking(config: dict[str, Any]) -> None:
    assert config["allow.auto.create.topics"] == "false"


def test_librdkafka_reports_before_the_callers_own_deadline() -> None:
    config = TransportOptions(publish_timeout=10).producer_config()

    assert 9000 <= int(config["message.timeout.ms"]) < 10_000


def test_equal_options_are_one_key() -> None:
    one, other = (TransportOptions(kafka={"linger.ms": 1}) for _ in range(2))

    assert one == other
    assert hash(one) == hash(other)
    assert one != TransportOptions(kafka={"linger.ms": 2})


def test_secrets_are_not_shown() -> None:
    options = TransportOptions(user="u", password="hush", kafka={"sasl.password": "hush"})

    assert "hush" not in repr(options)
    assert "hush" not in repr(options.address)
    assert "hush" not in options.address.uri()
