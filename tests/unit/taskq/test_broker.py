from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskq.broker import Broker, formats, written_format
from taskq.errors import BrokerRefused, BrokerUnreachable, InvalidSetting
from taskq.message import JSON
from taskq.protocols import Outgoing
from taskq.settings import Layer, Settings, resolve
from taskq_kafka.errors import RequestRefused
from tests.support.fake_broker import FakeAdmin


def settings(**values: Any) -> Settings:
    return resolve([Layer("code", values)])


def test_settings_become_a_connection_that_is_not_made_yet() -> None:
    broker = Broker(
        settings(broker="taskqs://me:p%40ss@a:1,b:2", prefix="p.", name="here", kafka={"x": "1"})
    )

    connection = broker._connect()

    assert (connection.hostname, connection.userid, connection.password) == (
        "a:1,b:2",
        "me",
        "p@ss",
    )
    assert connection.ssl is True
    options = connection.transport_options
    assert (options["prefix"], options["client_id"], options["kafka"]) == ("p.", "here", {"x": "1"})
    assert not connection.connected


def test_the_transport_takes_all_options_it_is_given() -> None:
    options = pytest.importorskip("taskq_kafka.options")
    connection = Broker(settings(broker="taskqs://me:secret@a:1,b:2", partitions=3))._connect()

    taken = options.TransportOptions.from_kombu(connection)

    assert (taken.bootstrap, taken.tls, taken.user, taken.password) == (
        "a:1,b:2",
        True,
        "me",
        "secret",
    )
    assert taken.partitions == 3


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ConnectionRefusedError("nobody"), BrokerUnreachable),
        (ValueError("bad option"), BrokerRefused),
        (LookupError("no topic"), BrokerRefused),
        (PermissionError("no rights"), BrokerRefused),
    ],
)
def test_errors_of_the_transport_become_ours(raised: Exception, expected: type[Exception]) -> None:
    broker = Broker(settings(broker="taskq://me:hidden@a:1"))

    with pytest.raises(expected) as caught, broker.errors():
        raise raised

    assert caught.value.__cause__ is raised
    assert "hidden" not in str(caught.value)


def test_refusal_by_the_broker_becomes_ours() -> None:
    broker = Broker(settings(broker="taskq://a:1"))
    broker._shared = broker._connect()
    refused = RequestRefused(42, "INVALID_REQUEST", "no")

    with pytest.raises(BrokerRefused, match="INVALID_REQUEST"), broker.errors():
        raise refused


def test_option_that_the_client_refuses_is_an_invalid_setting() -> None:
    broker = Broker(settings(kafka={"linger.sm": "5"}))

    with pytest.raises(InvalidSetting) as caught:
        broker.open_channel()

    assert caught.value.name == "kafka.linger.sm"
    assert "did you mean 'linger.ms'?" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [
        ({"ssl.ca.location": "/nowhere/ca.pem"}, "kafka.ssl.ca.location", "'/nowhere/ca.pem'"),
        ({"ssl.cipher.suites": "nothing"}, "kafka.ssl.cipher.suites", "no cipher match"),
        ({"sasl.mechanism": "nothing"}, "kafka.sasl.mechanism", "Unsupported SASL mechanism"),
    ],
)
def test_option_that_fails_later_is_named_all_the_same(
    options: dict[str, str], name: str, said: str
) -> None:
    broker = Broker(settings(broker="taskqs://u:p@h:1", kafka=options))

    with pytest.raises(InvalidSetting) as caught:
        broker.check()

    assert caught.value.name == name
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("own", "is_patient", "seconds"),
    [({}, True, None), ({}, False, 2.0), ({"connect_timeout": 60.0}, False, None)],
)
def test_who_is_not_patient_waits_two_seconds_where_nobody_listens_unless_the_time_was_set(
    monkeypatch: pytest.MonkeyPatch,
    own: dict[str, Any],
    is_patient: bool,
    seconds: float | None,
) -> None:
    admin = FakeAdmin()
    monkeypatch.setattr(Broker, "admin", admin)

    Broker(settings(**own)).check(is_patient=is_patient)

    assert admin.patience == seconds


def test_a_transport_that_cannot_be_made_fails_the_messages_as_unsent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker(settings())

    def refuse() -> Any:
        raise ValueError("bad option")

    monkeypatch.setattr(broker, "_connect", refuse)

    [error] = broker.publish([Outgoing("q", b"", ())])

    assert getattr(error, "sent", None) is False


def test_publishing_waits_for_the_publish_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(settings(publish_timeout=3))
    seen: list[float] = []

    def publish(messages: list[Outgoing], *, timeout: float) -> list[None]:
        seen.append(timeout)
        return [None] * len(messages)

    publisher = SimpleNamespace(publish=publish)
    connection = SimpleNamespace(transport=SimpleNamespace(publisher=publisher))
    monkeypatch.setattr(broker, "_connect", lambda: connection)

    assert broker.publish([Outgoing("q", b"", ())]) == [None]
    assert seen == [3.0]


class FakeConnection:
    """A kombu connection; like kombu's, its channels refer to it."""

    transport = SimpleNamespace(admin="admin", publisher=None)

    def __init__(self, name: str, released: list[str]) -> None:
        self._name = name
        self._released = released

    def channel(self) -> SimpleNamespace:
        return SimpleNamespace(connection=self)

    def release(self) -> None:
        self._released.append(self._name)


def test_closing_releases_every_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(settings())
    released: list[str] = []
    names = iter("ab")
    monkeypatch.setattr(broker, "_connect", lambda: FakeConnection(next(names), released))
    channel = broker.open_channel()
    assert cast(Any, broker.admin) == "admin"

    broker.close()

    assert sorted(released) == ["a", "b"]
    assert channel is not None


def test_a_channel_that_is_let_go_of_takes_its_connection_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker(settings())
    released: list[str] = []
    monkeypatch.setattr(broker, "_connect", lambda: FakeConnection("a", released))
    broker.open_channel()
    gc.collect()

    broker.close()

    assert released == []


def test_json_is_written_and_read_by_default() -> None:
    assert written_format(settings()) is JSON
    assert list(formats(settings())) == ["application/json"]


def test_other_formats_are_read_where_a_setting_names_them() -> None:
    found = formats(settings(accept_content=["json", "pickle"]))

    pickle = found["application/x-python-serialize"]
    assert pickle.loads(pickle.dumps([1, {"a": {2}}]), "binary") == [1, {"a": {2}}]
    with pytest.raises(ValueError, match=r"."):
        pickle.loads(b"no pickle", "binary")


def test_a_serializer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="did you mean 'json'"):
        written_format(settings(serializer="jsn"))


def test_what_a_serializer_cannot_write_is_a_value_error() -> None:
    pickle = written_format(settings(serializer="pickle"))

    with pytest.raises(ValueError, match=r"."):
        pickle.dumps(lambda: None)
