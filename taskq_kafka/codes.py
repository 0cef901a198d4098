"""Kafka's error numbers, and what each means for us.

Pure numbers and sets: no client is imported, so that whatever decides by them can be tested without one. Numbers above zero are
the protocol's (https://kafka.apache.org/protocol#protocol_error_codes), below zero librdkafka's own (rd_kafka_resp_err_t in
rdkafka.h); neither ever changes. `KafkaError.retriable()` is no help: it is False for every error of the commit path.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Those errors that decide something. The client's name of LOCAL_X is _X."""

    LOCAL_ALL_BROKERS_DOWN = -187
    LOCAL_ASSIGNMENT_LOST = -142
    LOCAL_AUTHENTICATION = -169
    LOCAL_DESTROY = -197
    LOCAL_FATAL = -150
    LOCAL_FENCED = -144
    LOCAL_INTR = -163
    LOCAL_INVALID_ARG = -186
    LOCAL_IN_PROGRESS = -178
    LOCAL_MSG_TIMED_OUT = -192
    LOCAL_NOENT = -156
    LOCAL_NO_OFFSET = -168
    LOCAL_PREV_IN_PROGRESS = -177
    LOCAL_PURGE_INFLIGHT = -151
    LOCAL_PURGE_QUEUE = -152
    LOCAL_QUEUE_FULL = -184
    LOCAL_RESOLVE = -193
    LOCAL_RETRY = -153
    LOCAL_SSL = -181
    LOCAL_STATE = -172
    LOCAL_TIMED_OUT = -185
    LOCAL_TIMED_OUT_QUEUE = -166
    LOCAL_TRANSPORT = -195
    LOCAL_UNKNOWN_GROUP = -179
    LOCAL_UNKNOWN_PARTITION = -190
    LOCAL_UNKNOWN_TOPIC = -188
    LOCAL_UNSUPPORTED_FEATURE = -165
    LOCAL_WAIT_CACHE = -164
    LOCAL_WAIT_COORD = -180
    UNKNOWN_TOPIC_OR_PART = 3
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER_FOR_PARTITION = 6
    REQUEST_TIMED_OUT = 7
    BROKER_NOT_AVAILABLE = 8
    REPLICA_NOT_AVAILABLE = 9
    MSG_SIZE_TOO_LARGE = 10
    OFFSET_METADATA_TOO_LARGE = 12
    NETWORK_EXCEPTION = 13
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    TOPIC_EXCEPTION = 17
    RECORD_LIST_TOO_LARGE = 18
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    ILLEGAL_GENERATION = 22
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    TOPIC_AUTHORIZATION_FAILED = 29
    GROUP_AUTHORIZATION_FAILED = 30
    CLUSTER_AUTHORIZATION_FAILED = 31
    INVALID_TIMESTAMP = 32
    UNSUPPORTED_SASL_MECHANISM = 33
    ILLEGAL_SASL_STATE = 34
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    NOT_CONTROLLER = 41
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    INVALID_TXN_STATE = 48
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
    KAFKA_STORAGE_ERROR = 56
    SASL_AUTHENTICATION_FAILED = 58
    UNKNOWN_PRODUCER_ID = 59
    GROUP_ID_NOT_FOUND = 69
    FENCED_LEADER_EPOCH = 74
    UNKNOWN_LEADER_EPOCH = 75
    OFFSET_NOT_AVAILABLE = 78
    MEMBER_ID_REQUIRED = 79
    FENCED_INSTANCE_ID = 82
    INVALID_RECORD = 87
    UNSTABLE_OFFSET_COMMIT = 88
    THROTTLING_QUOTA_EXCEEDED = 89
    PRODUCER_FENCED = 90
    FENCED_MEMBER_EPOCH = 110
    STALE_MEMBER_EPOCH = 113


COMMIT_REFUSED: frozenset[int] = frozenset(
    {
        Code.UNKNOWN_MEMBER_ID,
        Code.ILLEGAL_GENERATION,
        Code.REBALANCE_IN_PROGRESS,
        Code.STALE_MEMBER_EPOCH,
        Code.FENCED_MEMBER_EPOCH,
        Code.FENCED_INSTANCE_ID,
        Code.MEMBER_ID_REQUIRED,
        Code.GROUP_ID_NOT_FOUND,
        # The client itself refuses: not (or no longer) a member, or the assignment was lost before the request went out.
        Code.LOCAL_ASSIGNMENT_LOST,
        Code.LOCAL_FENCED,
        Code.LOCAL_NO_OFFSET,
        Code.LOCAL_STATE,
        Code.LOCAL_UNKNOWN_GROUP,
    }
)
"""A commit that was certainly not taken, because we are not who may commit: drop the batch, seek back, never run it."""

COMMIT_REPEAT: frozenset[int] = frozenset(
    {
        Code.LOCAL_TRANSPORT,
        Code.LOCAL_TIMED_OUT,
        Code.LOCAL_TIMED_OUT_QUEUE,
        Code.LOCAL_ALL_BROKERS_DOWN,
        Code.LOCAL_RESOLVE,
        Code.LOCAL_WAIT_COORD,
        Code.LOCAL_WAIT_CACHE,
        Code.LOCAL_IN_PROGRESS,
        Code.LOCAL_PREV_IN_PROGRESS,
        Code.LOCAL_RETRY,
        Code.LOCAL_INTR,
        # The connection ended with the request in it (broker closed, or the client reconnected): the answer is unknown.
        Code.LOCAL_DESTROY,
        Code.REQUEST_TIMED_OUT,
        Code.NETWORK_EXCEPTION,
        Code.COORDINATOR_LOAD_IN_PROGRESS,
        Code.COORDINATOR_NOT_AVAILABLE,
        Code.NOT_COORDINATOR,
        Code.UNSTABLE_OFFSET_COMMIT,
        Code.THROTTLING_QUOTA_EXCEEDED,
        Code.KAFKA_STORAGE_ERROR,
        # The offsets topic is short of replicas, or moving: the coordinator could not write, or could and was not told.
        Code.NOT_ENOUGH_REPLICAS,
        Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        Code.NOT_LEADER_FOR_PARTITION,
        Code.LEADER_NOT_AVAILABLE,
    }
)
"""A commit whose answer is missing, or that the coordinator could not serve yet: repeat the same commit, without polling."""

RETRIABLE: frozenset[int] = COMMIT_REPEAT | {
    Code.BROKER_NOT_AVAILABLE,
    Code.REPLICA_NOT_AVAILABLE,
    Code.NOT_CONTROLLER,
    Code.LOCAL_MSG_TIMED_OUT,
    Code.LOCAL_QUEUE_FULL,
    # Of partitions whose leader has not been told to the brokers yet: after a broker's start.
    Code.LOCAL_NOENT,
    # Right after a topic was made, brokers that have not heard of it yet answer this.
    Code.UNKNOWN_TOPIC_OR_PART,
    # And so do leaders that are new, or that the client knows before they do themselves.
    Code.FENCED_LEADER_EPOCH,
    Code.UNKNOWN_LEADER_EPOCH,
    Code.OFFSET_NOT_AVAILABLE,
}
"""Of any request: it may succeed later as it is."""

FATAL: frozenset[int] = frozenset(
    {
        Code.LOCAL_FATAL,
        Code.LOCAL_FENCED,
        Code.OUT_OF_ORDER_SEQUENCE_NUMBER,
        Code.INVALID_PRODUCER_EPOCH,
        Code.UNKNOWN_PRODUCER_ID,
        Code.PRODUCER_FENCED,
        Code.LOCAL_PURGE_QUEUE,
        Code.LOCAL_PURGE_INFLIGHT,
    }
)
"""The client object is of no more use."""

FENCED: frozenset[int] = frozenset(
    {Code.LOCAL_FENCED, Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_EPOCH}
)
"""Of a transactional producer: another one has its transactional id now."""

TOPIC_ABSENT: frozenset[int] = frozenset(
    {Code.UNKNOWN_TOPIC_OR_PART, Code.LOCAL_UNKNOWN_TOPIC, Code.LOCAL_UNKNOWN_PARTITION}
)
"""The topic (or that partition of it) does not exist."""

UNAUTHORIZED: frozenset[int] = frozenset(
    {
        Code.TOPIC_AUTHORIZATION_FAILED,
        Code.GROUP_AUTHORIZATION_FAILED,
        Code.CLUSTER_AUTHORIZATION_FAILED,
        Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""The broker's access rules forbid it."""

AUTHENTICATION: frozenset[int] = frozenset(
    {
        Code.LOCAL_AUTHENTICATION,
        Code.LOCAL_SSL,
        Code.SASL_AUTHENTICATION_FAILED,
        Code.UNSUPPORTED_SASL_MECHANISM,
        Code.ILLEGAL_SASL_STATE,
    }
)
"""The broker is there and does not take us, or we do not take its certificate."""

TOO_LARGE: frozenset[int] = frozenset({Code.MSG_SIZE_TOO_LARGE, Code.RECORD_LIST_TOO_LARGE})
"""The record is larger than the client or the topic allows."""


def is_answer(code: int) -> bool:
    """Return whether a broker answered, if only with "not yet"; all else of librdkafka's own is the silence of brokers."""
    return code > 0 or code == Code.LOCAL_NOENT
