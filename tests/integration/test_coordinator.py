"""Questions to a group's coordinator while it is away: librdkafka must survive them, in a process of its own because it may not."""

from __future__ import annotations

import pytest

from tests.support.kafka import Kafka
from tests.support.processes import Processes

PROGRAM = """
import sys

from taskq_kafka.admin import Admin
from taskq_kafka.errors import TaskqKafkaError
from taskq_kafka.groups import Groups
from taskq_kafka.options import TransportOptions
from tests.support.waiting import wait_until

options = TransportOptions(bootstrap=sys.argv[1])
admin, groups = Admin(options), Groups(options)


def ask(timeout):
    try:
        return admin.worker_counts(["q"], group="g", timeout=timeout)
    except TaskqKafkaError as error:
        return type(error).__name__


def hear(news):
    wait_until(lambda: news in open(sys.argv[2]).read(), timeout=100, what=news)


print("before:", ask(30), groups.others("q", ()), flush=True)
hear("broker is away")
print("during:", ask(1.0), ask(1.0), groups.others("q", ()), flush=True)
hear("broker is back")
print("after:", ask(30), groups.others("q", ()), flush=True)
"""


@pytest.mark.timeout(240)
def test_process_outlives_a_question_that_got_no_answer(
    own_kafka: Kafka, processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    news = tmp_path_factory.mktemp("news") / "news"
    news.touch()
    asking = processes.python("-c", PROGRAM, own_kafka.bootstrap, str(news))
    asking.wait_for_line("before: {'q': 0} 0", timeout=60)

    own_kafka.stop()
    news.write_text("broker is away")
    asking.wait_for_line("during: BrokerUnreachable BrokerUnreachable 0", timeout=30)
    own_kafka.start()
    news.write_text("broker is back")

    asking.wait_for_line("after: {'q': 0} 0", timeout=60)
    assert asking.wait() == 0
