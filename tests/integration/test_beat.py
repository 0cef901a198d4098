"""Beats on a real Kafka: each occurrence once, however many run, whoever of them dies, and whatever their files say."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskq.scheduling.schedulelog import LOG, Shelf, read_shelf
from tests.support.kafka import Kafka
from tests.support.names import fresh_name
from tests.support.ports import reserve_port
from tests.support.processes import Process, Processes
from tests.support.topicreader import Seen, read_topic
from tests.support.waiting import wait_until

READY = "beat is ready"
OWNS = "owns the partitions"


class Stage:
    """A schedule file, beats with it behind a prefix of their own, and what they send."""

    def __init__(self, kafka: Kafka, processes: Processes, folder: Path) -> None:
        self.kafka = kafka
        self.prefix = fresh_name("beat") + "."
        self.file = folder / "jobs.json"
        self._processes = processes

    def write(self, *items: dict[str, Any], path: Path | None = None) -> None:
        filled = [{"cron": "* * * * * *", "task": "t", "queue": "q", **item} for item in items]
        (path or self.file).write_text(json.dumps(filled))

    def beat(self, *options: str, path: Path | None = None, waits: bool = True) -> Process:
        beat = self.taskq("beat", "-s", str(path or self.file), *options)
        if waits:
            beat.wait_for_line(READY, timeout=30)
        return beat

    def taskq(self, *arguments: str) -> Process:
        return self._processes.taskq(
            *arguments, "-b", self.kafka.bootstrap, env={"TASKQ_PREFIX": self.prefix}
        )

    def run(self, *arguments: str) -> Any:
        """Run a command that prints JSON, and return that."""
        process = self.taskq(*arguments, "--json")
        assert process.wait(timeout=30) == 0, process.text
        return json.loads(process.text[process.text.index("[" if "[" in process.text else "{") :])

    def sent(self) -> list[Seen]:
        return read_topic(self.kafka.bootstrap, f"{self.prefix}q")

    def shelf(self) -> Shelf:
        records: Any = read_topic(self.kafka.bootstrap, self.prefix + LOG)
        return read_shelf(records, "jobs")

    def wait_sent(self, count: int, id: str = "", *, timeout: float = 60.0) -> None:
        """Wait until so many occurrences stand there, of one schedule or of all."""

        def look() -> bool:
            try:
                found = self.sent()
            except KeyError:  # the queue is made with the first one
                return False
            return sum(each.id.startswith(f"jobs/{id}") for each in found) >= count

        wait_until(look, timeout=timeout, what=f"{count} occurrences of {id or 'all'}")


def planned(seen: Sequence[Seen], id: str) -> list[datetime]:
    """Return the planned instants of a schedule's occurrences, sorted."""
    ids = [each.id for each in seen if each.id.startswith(f"jobs/{id}@")]
    return sorted(
        datetime.fromisoformat(each.partition("@")[2].replace("Z", "+00:00")) for each in ids
    )


def assert_steps(instants: Sequence[datetime], seconds: float) -> None:
    """Each follows the one before it by so much: none is missing, none is there twice."""
    steps = Counter((after - before) / timedelta(seconds=1) for before, after in pairwise(instants))
    assert set(steps) == {seconds}, steps


@pytest.fixture
def stage(kafka: Kafka, processes: Processes, tmp_path: Path) -> Stage:
    return Stage(kafka, processes, tmp_path)


def test_two_beats_send_each_occurrence_once_also_when_one_is_killed_and_one_stops(
    stage: Stage,
) -> None:
    stage.write(*({"id": f"s{n}"} for n in range(10)))
    first, second = stage.beat(), stage.beat()
    second.wait_for_line(OWNS, timeout=30)
    stage.wait_sent(30)

    first.kill()
    third = stage.beat()
    third.wait_for_line(OWNS, timeout=30)
    assert second.stop() == 0
    before = len(stage.sent())
    stage.wait_sent(before + 30)
    assert third.stop() == 0

    sent = stage.sent()
    for n in range(10):
        assert_steps(planned(sent, f"s{n}"), 1.0)
    assert {each.headers["scheduled_for"].decode() for each in sent} == {
        each.id.partition("@")[2] for each in sent
    }


def test_changed_file_in_a_rollout_and_every_after_a_restart(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    new = tmp_path / "new" / "jobs.json"
    stage.write({"id": "a"}, {"id": "b"}, {"id": "c", "cron": "@every 3s"})
    stage.write({"id": "a", "args": [1]}, {"id": "c", "cron": "@every 3s", "args": [1]}, path=new)
    old = [stage.beat(), stage.beat()]
    stage.wait_sent(2, "c")

    fresh = stage.beat(path=new)
    text = fresh.text
    stage.wait_sent(len(planned(stage.sent(), "a")) + 3, "a")
    undoing = stage.beat()
    stage.wait_sent(len(planned(stage.sent(), "a")) + 2, "a")
    for beat in [*old, fresh, undoing]:
        assert beat.stop() == 0
    again = stage.beat(path=new)
    stage.wait_sent(len(planned(stage.sent(), "c")) + 1, "c")
    assert again.stop() == 0

    assert "jobs/a changed" in text
    assert "jobs/b removed" in text
    assert "undoes what the beat on" in undoing.text
    sent = stage.sent()
    assert_steps(planned(sent, "a"), 1.0)
    assert_steps(planned(sent, "c"), 3.0)
    values = {json.loads(each.value or b"")[0][:1] == [1] for each in sent if "/a@" in each.id}
    assert values == {True, False}
    assert len({each.id for each in sent}) == len(sent)


def test_commands_show_and_steer_what_is_loaded(stage: Stage) -> None:
    stage.write({"id": "a"}, {"id": "yearly", "cron": "@yearly"})
    beat = stage.beat()
    stage.wait_sent(2, "a")

    rows = {row["schedule"]: row for row in stage.run("schedule", "list")}
    stage.run("schedule", "pause", "a")
    wait_until(
        lambda: stage.run("schedule", "list")[0]["state"] == "paused", timeout=60, what="the pause"
    )
    # The beat hears of it a moment after it stands in the log: in the time of two commands.
    history = stage.run("schedule", "history", "a")
    triggered = stage.run("schedule", "trigger", "yearly")["id"]
    paused = len(planned(stage.sent(), "a"))
    stage.run("schedule", "list")
    assert len(planned(stage.sent(), "a")) == paused
    stage.run("schedule", "resume", "jobs/a")
    stage.wait_sent(paused + 2, "a")
    assert beat.stop() == 0

    assert rows["jobs/a"]["state"] == rows["jobs/yearly"]["state"] == "active"
    assert [row["id"] for row in history][-1] in {each.id for each in stage.sent()}
    assert triggered.startswith("jobs/yearly@")
    assert triggered in {each.id for each in stage.sent()}
    listed = stage.taskq("schedule", "list")
    assert listed.wait(timeout=30) == 0
    assert "no beat of namespace 'jobs' runs" in listed.text or "overdue" not in listed.text


def test_schedules_of_a_file_that_is_left_out_are_told_and_removed_while_beats_run(
    stage: Stage, tmp_path: Path
) -> None:
    left_out = tmp_path / "old.json"
    stage.write({"id": "a"})
    stage.write({"id": "old"}, {"id": "older", "cron": "@yearly"}, path=left_out)
    assert stage.beat("-s", str(left_out), "--namespace", "jobs").stop() == 0

    beat = stage.beat("--namespace", "jobs")
    beat.wait_for_line("2 schedules of old.json are in force, which this beat does not load")
    stage.wait_sent(2, "old")
    remove = stage.taskq("schedule", "remove", "--source", "old.json", "--yes")
    assert remove.wait(timeout=30) == 0
    # A slow beat hears of it late: how late is told by what else it sends.
    stage.wait_sent(len(planned(stage.sent(), "a")) + 2, "a")
    last = planned(stage.sent(), "old")[-1]
    stage.wait_sent(len(planned(stage.sent(), "a")) + 3, "a")
    assert beat.stop() == 0

    assert "removed 2 schedules: jobs/old, jobs/older" in remove.text
    assert planned(stage.sent(), "old")[-1] == last
    assert_steps(planned(stage.sent(), "a"), 1)
    shelf = stage.shelf()
    assert (list(shelf.schedules), list(shelf.manifests)) == (["a"], ["file:jobs.json"])


def test_other_schedules_under_the_name_of_a_running_beat_are_refused(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "jobs.json"
    stage.write({"id": "a"})
    stage.write({"id": "z"}, path=other)
    beat = stage.beat()
    beat.wait_for_line(OWNS, timeout=30)

    refused = stage.beat(path=other, waits=False)

    assert refused.wait(timeout=30) == 2
    assert "--namespace" in refused.text
    assert "Traceback" not in refused.text
    assert beat.stop() == 0
    assert list(stage.shelf().definitions()) == ["a"]


def test_schedules_in_code_are_loaded(stage: Stage, tmp_path: Path) -> None:
    stage.write({"id": "a", "task": "ocasional"})
    (tmp_path / "shop.py").write_text(
        "from taskq import task\n\n"
        '@task("occasional", queue="q", cron="* * * * * *", kwargs={"x": 1})\n'
        "def occasional(x: int) -> None: ...\n"
    )
    beat = stage._processes.taskq(
        *("beat", "-A", "shop", "-s", str(stage.file), "--namespace", "jobs"),
        *("-b", stage.kafka.bootstrap),
        env={"TASKQ_PREFIX": stage.prefix},
        cwd=tmp_path,
    )
    beat.wait_for_line(READY, timeout=30)

    stage.wait_sent(2, "occasional")
    assert beat.stop() == 0

    assert "no task 'ocasional' (did you mean 'occasional'?)" in beat.text
    assert {"code:shop", "file:jobs.json"} == set(stage.shelf().manifests)


def test_broker_that_is_away_at_the_start_is_3(stage: Stage, processes: Processes) -> None:
    stage.write({"id": "a"})
    port = reserve_port()
    try:
        beat = processes.taskq(
            *("beat", "-s", str(stage.file), "-b", f"127.0.0.1:{port.number}"),
            env={"TASKQ_CONNECT_TIMEOUT": "1"},
        )

        assert beat.wait(timeout=30) == 3
    finally:
        port.release()
    assert "no broker answers" in beat.text
    assert "Traceback" not in beat.text


def test_log_that_would_lose_schedules_is_2(stage: Stage) -> None:
    stage.write({"id": "a"})
    stage.kafka.create_topic(stage.prefix + LOG, config={"cleanup.policy": "delete"})

    beat = stage.beat(waits=False)

    assert beat.wait(timeout=30) == 2
    assert "cleanup.policy" in beat.text
    assert "Traceback" not in beat.text


def test_second_signal_ends_it_at_once(stage: Stage) -> None:
    stage.write({"id": "a"})
    beat = stage.beat()
    stage.kafka.freeze()
    try:
        beat.signal(signal.SIGTERM)
        beat.wait_for_line("stopping: hands over")  # two that wait together are one
        beat.signal_again(signal.SIGTERM)

        assert beat.wait() == 143
    finally:
        stage.kafka.thaw()
