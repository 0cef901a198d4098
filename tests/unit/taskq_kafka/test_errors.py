"""How the client's errors become ours. confluent_kafka is asked for its numbers only."""

from __future__ import annotations

import pickle

import pytest
from confluent_kafka import KafkaError, KafkaException

from taskq_kafka import errors
from taskq_kafka.codes import COMMIT_REFUSED, COMMIT_REPEAT, FATAL, Code
from taskq_kafka.errors import (
    AuthenticationFailed,
    BrokerUnreachable,
    ClaimGivenUp,
    ClockWrong,
    ConfigInvalid,
    ConnectionBroken,
    DeliveryFailed,
    HandleDead,
    HeaderInvalid,
    LetterTooLarge,
    LogUnfit,
    NotThisProcess,
    RecordTooLarge,
    RecordUnreadable,
    RequestRefused,
    TaskqKafkaError,
    TopicInvalid,
    TopicMissing,
    TopicUnauthorized,
    TransactionOpen,
    map_error,
)

EXAMPLES: list[TaskqKafkaError] = [
    BrokerUnreachable("h:9092", "refused"),
    AuthenticationFailed("h:9092", "SSL handshake failed"),
    ConnectionBroken(7, "REQUEST_TIMED_OUT", "slow"),
    HandleDead(-144, "_FENCED", "fenced"),
    RequestRefused(42, "INVALID_REQUEST", "no"),
    ClockWrong(32, "INVALID_TIMESTAMP", "no"),
    ClaimGivenUp([3, 4]),
    LogUnfit("taskq.timers", "taskq.timers", "it is not compacted"),
    NotThisProcess(17),
    DeliveryFailed("q", "full", code=-184, retriable=True, sent=False),
    TopicMissing("t"),
    TopicUnauthorized("t", "no"),
    ConfigInvalid("grop", "unknown", near="group"),
    HeaderInvalid("h", "no"),
    RecordTooLarge("q", "2 MB"),
    LetterTooLarge("q", "q.dlq", 2_000_000, "message too large"),
    RecordUnreadable("not JSON"),
    TopicInvalid("a b", "blank"),
    TransactionOpen("billing.dlq"),
]


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_number_is_the_clients(code: Code) -> None:
    name = code.name.removeprefix("LOCAL") if code < 0 else code.name

    assert getattr(KafkaError, name) == code


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_error_survives_pickling(error: TaskqKafkaError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # made here

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


def test_there_is_an_example_of_each_error() -> None:
    classes = {
        each
        for each in vars(errors).values()
        if isinstance(each, type)
        and issubclass(each, TaskqKafkaError)
        and not each.__name__.startswith("_")
    }

    assert classes - {type(error) for error in EXAMPLES} == {TaskqKafkaError}


@pytest.mark.parametrize(
    "error", [each for each in EXAMPLES if isinstance(each, ConnectionError)], ids=repr
)
def test_connection_errors_make_kombu_connect_anew(error: TaskqKafkaError) -> None:
    assert isinstance(error, errors.CONNECTION_ERRORS)
    assert not isinstance(error, errors.CHANNEL_ERRORS)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._TRANSPORT, BrokerUnreachable),
        (KafkaError._ALL_BROKERS_DOWN, BrokerUnreachable),
        (KafkaError._TIMED_OUT, ConnectionBroken),
        (KafkaError.NOT_COORDINATOR, ConnectionBroken),
        (KafkaError._NOENT, ConnectionBroken),
        (KafkaError.SASL_AUTHENTICATION_FAILED, AuthenticationFailed),
        (KafkaError._SSL, AuthenticationFailed),
        (KafkaError._FENCED, HandleDead),
        (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, HandleDead),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicMissing),
        (KafkaError._UNKNOWN_TOPIC, TopicMissing),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, TopicUnauthorized),
        (KafkaError.MSG_SIZE_TOO_LARGE, RecordTooLarge),
        (KafkaError.TOPIC_EXCEPTION, TopicInvalid),
        (KafkaError._INVALID_ARG, ConfigInvalid),
        (KafkaError.POLICY_VIOLATION, RequestRefused),
        (KafkaError.INVALID_TIMESTAMP, ClockWrong),
    ],
)
def test_client_error_becomes_ours(code: int, expected: type[TaskqKafkaError]) -> None:
    mapped = map_error(KafkaException(KafkaError(code)), address="h:9092", topic="t")

    assert type(mapped) is expected


def test_fatal_error_asks_for_a_new_client_whatever_its_number() -> None:
    assert isinstance(map_error(KafkaError(KafkaError.INVALID_TXN_STATE, fatal=True)), HandleDead)


def test_error_of_ours_is_left_as_it_is() -> None:
    error = TopicMissing("t")

    assert map_error(error) is error


def test_unknown_property_is_named() -> None:
    error = KafkaError(KafkaError._INVALID_ARG, 'No such configuration property: "foo.bar"')

    mapped = map_error(error)

    assert isinstance(mapped, ConfigInvalid)
    assert mapped.option == "foo.bar"


def test_no_commit_error_is_both_refused_and_to_be_repeated() -> None:
    assert not COMMIT_REFUSED & COMMIT_REPEAT


def test_nothing_that_ends_a_handle_is_repeated() -> None:
    assert not FATAL & COMMIT_REPEAT
