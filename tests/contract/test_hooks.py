"""Hooks of publishing on every broker: what a hook adds is on the record, and each message's hook hears of its own message."""

from __future__ import annotations

import pytest

from taskq import App, PublishFailed
from taskq.sending.publication import Publication
from taskq.sources import Sources
from tests.support.brokers import Broker, fetch, listening

TOO_LARGE = "x" * 2_000_000
"""Above a topic's `max.message.bytes`, which is a megabyte."""


def app_on(broker: Broker, queue: str) -> App:
    url = f"memory://{broker.address}" if broker.kind == "memory" else broker.address
    app = App("hooked", broker=url, default_queue=queue)
    app.adopt(Sources())
    return app


def test_what_a_hook_adds_is_on_the_record(broker: Broker, queue: str) -> None:
    app = app_on(broker, queue)

    @app.on("before_publish")
    def number(publication: Publication) -> None:
        publication.headers["number"] = len(publication.args)

    app.send_task("note", (1, 2))
    app.close()
    [record] = fetch(listening(broker, queue), 1)

    headers = dict(record.headers)
    assert (headers["number"], headers["kombu-json"]) == (b"2", b"number")


def test_each_message_of_many_is_told_with_its_own_end(broker: Broker, queue: str) -> None:
    broker.needs("record size")
    app = app_on(broker, queue)
    ended: list[tuple[int, BaseException | None]] = []
    note = app.task("note")(lambda text: None)

    @app.on("after_publish")
    def end(publication: Publication, error: BaseException | None) -> None:
        ended.append((len(publication.args[0]), error))

    with pytest.raises(PublishFailed) as caught:
        note.delay_many([("a",), (TOO_LARGE,), ("ccc",)])
    app.close()

    assert ended == [(1, None), (len(TOO_LARGE), caught.value), (3, None)]
