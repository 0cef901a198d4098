"""Who is in a consumer group. Any thread may call; every call blocks, at most until its deadline (`time.monotonic`)."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from .codes import Code
from .errors import RequestRefused
from .forks import AdminClient
from .questions import Questions


class Members:
    """Asks a group's coordinator."""

    def __init__(self, questions: Questions) -> None:
        """Ask with this; nothing is asked yet."""
        self._questions = questions

    def workers_by_topic(self, group: str, deadline: float) -> dict[str, int]:
        """Return for each topic how many members of a group hold a partition of it, whatever protocol they speak."""

        def question(client: AdminClient, limit: float) -> Future[Any]:
            (answer,) = client.describe_consumer_groups([group], request_timeout=limit).values()
            return answer

        try:
            members = self._questions.ask_coordinator(question, deadline).members
        except RequestRefused as error:
            # A group that never was; or the mock cluster, which cannot say.
            if error.code not in (Code.GROUP_ID_NOT_FOUND, Code.LOCAL_UNSUPPORTED_FEATURE):
                raise
            return {}
        counts: dict[str, int] = {}
        for member in members:
            held = member.assignment.topic_partitions if member.assignment else ()
            for topic in {place.topic for place in held}:
                counts[topic] = counts.get(topic, 0) + 1
        return counts
