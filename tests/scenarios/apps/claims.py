"""Tasks that ask the broker, while they run, how far their own partition is committed, and write it down."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from taskq import App
from taskq.request import Request, current_request
from tests.support.kafka import admin
from tests.support.ledger import Ledger
from tests.support.waiting import moment

LEDGER = "CLAIMS_LEDGER"
"""The variable that names the ledger's file."""

BOOTSTRAP = "CLAIMS_BOOTSTRAP"
"""The variable with the broker's own address, past any proxy."""

ANSWER_TIMEOUT = 30.0
"""Seconds for the broker's answer."""

app = App("claims")


class _Client:
    """This process's client, made when it is first used: a pool process must not inherit one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: AdminClient | None = None

    def get(self) -> AdminClient:
        with self._lock:
            if self._client is None:
                self._client = admin(os.environ[BOOTSTRAP])
            return self._client


_client = _Client()


@app.task("looks")
def looks() -> None:
    request = _request()
    begun = moment()
    answer = _ask(request).result(ANSWER_TIMEOUT)
    _write(request, answer, begun)


@app.task("looks_async")
async def looks_async() -> None:
    request = _request()
    begun = moment()
    answer = await asyncio.wait_for(asyncio.wrap_future(_ask(request)), ANSWER_TIMEOUT)
    _write(request, answer, begun)


def _request() -> Request:
    request = current_request()
    assert request is not None, "it runs in a worker"
    return request


def _ask(request: Request) -> Future[ConsumerGroupTopicPartitions]:
    wanted = [TopicPartition(request.queue, request.partition)]
    asked = [ConsumerGroupTopicPartitions(request.group, wanted)]
    return _client.get().list_consumer_group_offsets(asked)[request.group]


def _write(request: Request, answer: ConsumerGroupTopicPartitions, begun: float) -> None:
    assert answer.topic_partitions is not None, "it was asked for one"
    found = answer.topic_partitions[0]
    detail = f"{request.partition} {request.offset} {found.offset} {begun}"
    Ledger(os.environ[LEDGER]).write(request.id, "looked", detail)
