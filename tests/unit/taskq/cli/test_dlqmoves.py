"""`taskq dlq list` with filters, `redrive` and `discard`, on an app with a fake broker."""

from __future__ import annotations

import logging
import sys

import pytest

from taskq.app import App
from taskq.protocols import QueueStatus, StoredDeadLetter
from tests.support.fake_broker import FakeBroker
from tests.unit.taskq.cli.conftest import Taskq


def letter(
    number: int,
    *,
    task: str = "invoice",
    reason: str = "failed",
    queue: str = "billing",
    failed: str = "2026-11-23T17:00:00Z",
    **headers: str,
) -> StoredDeadLetter:
    why = {"id": f"id-{number}", "task": task, "reason": reason, "error": f"ValueError: {number}"}
    why |= {"failed": failed, "version": headers.pop("version", "1")}
    own = [(name, text.encode()) for name, text in headers.items()]
    told = [(f"dlq-{name}", text.encode()) for name, text in why.items()]
    place = f"{queue}/0/{number}"
    return StoredDeadLetter(place, queue, b"[[], {}, {}]", (*own, *told), 1_000 + number)


@pytest.fixture(autouse=True)
def letters(broker: FakeBroker) -> FakeBroker:
    broker.admin.statuses = [QueueStatus("billing", 12, 0, None, 1)]
    broker.admin.stored = [
        letter(1),
        letter(2, task="remind", reason="unknown_task"),
        letter(3, failed="2999-01-01T00:00:00Z"),
    ]
    return broker


def moved(broker: FakeBroker) -> list[str]:
    return [each.letter.id for each in broker.admin.moved]


# list


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ((), ["id-1", "id-2", "id-3"]),
        (("--task", "remind"), ["id-2"]),
        (("--reason", "failed"), ["id-1", "id-3"]),
        (("--error", "valueerror: 3"), ["id-3"]),
        (("--older-than", "1h", "--task", "invoice"), ["id-1"]),
        (("--newer-than", "30m"), ["id-3"]),
        (("--limit", "2"), ["id-2", "id-3"]),
    ],
)
def test_letters_are_listed_by_what_they_have_in_common(
    taskq: Taskq, filters: tuple[str, ...], found: list[str]
) -> None:
    run = taskq("dlq", "list", "billing", *filters, "--json")

    assert [row["id"] for row in run.json] == found


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("2026-11-23T17:00:00Z", "2026-11-23T17:00:00.000Z"),
        ("2026-11-23T18:00:00.123456+01:00", "2026-11-23T17:00:00.123Z"),
        ("yesterday", "yesterday"),
    ],
)
def test_when_a_letter_failed_has_one_form_whoever_wrote_it(
    taskq: Taskq, broker: FakeBroker, written: str, told: str
) -> None:
    broker.admin.stored = [letter(1, failed=written)]

    assert taskq("dlq", "list", "--json").json[0]["failed_at"] == told
    assert f"failed_at: {told}\n" in taskq("dlq", "show", "id-1").out


def test_letters_are_counted(taskq: Taskq) -> None:
    run = taskq("dlq", "list", "--count", "--json")

    assert run.json == [
        {"queue": "billing", "task": "invoice", "reason": "failed", "count": 2},
        {"queue": "billing", "task": "remind", "reason": "unknown_task", "count": 1},
    ]
    assert taskq("dlq", "list", "--count").out.splitlines()[0].split()[-1] == "COUNT"


def test_a_filter_that_nothing_fits_is_said(taskq: Taskq) -> None:
    run = taskq("dlq", "list", "billing", "--task", "invoce")

    assert (run.code, run.out) == (0, "")
    assert run.err == "taskq: none of 3 dead letters fits; did you mean 'invoice'?\n"


def test_what_a_limit_leaves_out_is_said(taskq: Taskq) -> None:
    assert taskq("dlq", "list", "--limit", "1").err == "taskq: the newest 1 of 3\n"


def test_a_table_has_the_newest_fifty_and_json_all(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.stored = [letter(number) for number in range(1, 301)]

    table = taskq("dlq", "list")
    wider = taskq("dlq", "list", "--limit", "1000")

    assert len(table.out.splitlines()) == 51
    assert table.out.splitlines()[-1].startswith("id-300 ")
    assert table.err == "taskq: the newest 50 of 300; --limit N prints more, --count counts them\n"
    assert (len(wider.out.splitlines()), wider.err) == (301, "")
    assert len(taskq("dlq", "list", "--json").json) == 300


def test_a_letter_of_a_newer_format_is_listed_and_said(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.stored = [letter(1, version="2")]

    run = taskq("dlq", "list")

    assert "id-1" in run.out
    assert run.err == "taskq: 1 were written by a newer taskq; they may say more\n"


def test_a_letter_is_shown_with_how_often_it_was_redriven_and_its_body_in_lines(
    taskq: Taskq, broker: FakeBroker
) -> None:
    body = b'[["' + b"x" * 160 + b'"], {"amount": 3}, null]'
    headers = (("redriven", b"2"), ("dlq-id", b"id-1"), ("dlq-worker-version", b"0.1.0"))
    broker.admin.stored = [StoredDeadLetter("billing/0/1", "billing", body, headers)]

    shown = taskq("dlq", "show", "id-1").out

    assert taskq("dlq", "show", "id-1", "--json").json["redriven"] == 2
    assert "header redriven: 2" in shown
    assert "worker-version: 0.1.0" in shown
    assert '\n    "amount": 3\n' in shown


# redrive


@pytest.mark.parametrize(
    ("selection", "gone"),
    [
        (("--all",), [1, 2, 3]),
        (("--id", "id-2"), [2]),
        (("--id", "billing/0/1", "--id", "id-3"), [1, 3]),
        (("--task", "invoice"), [1, 3]),
        (("--reason", "unknown_task"), [2]),
        (("--error", "VALUEERROR: 1"), [1]),
        (("--older-than", "1d", "--reason", "failed"), [1]),
    ],
)
def test_what_is_selected_goes_back(
    taskq: Taskq, broker: FakeBroker, selection: tuple[str, ...], gone: list[int]
) -> None:
    run = taskq("dlq", "redrive", "billing", *selection, "--yes")

    number = f"{len(gone)} dead letter{'' if len(gone) == 1 else 's'}"
    assert (run.code, run.out, run.err) == (0, f"redriven {number} of queue billing\n", "")
    assert moved(broker) == [f"billing/0/{each}" for each in gone]
    records = [each.record for each in broker.admin.moved]
    assert all(record is not None and record.queue == "billing" for record in records)
    assert broker.admin.closed_movers == 1


def test_what_is_discarded_is_not_sent(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("dlq", "discard", "billing", "--id", "id-1", "--yes", "--note", "a test")

    assert (run.code, run.out) == (0, "discarded 1 dead letter of queue billing\n")
    [removal] = broker.admin.moved
    assert removal.record is None
    assert ("dlq-note", b"a test") in removal.note


def test_a_trial_counts_and_changes_nothing(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("dlq", "redrive", "billing", "--all", "--dry-run")

    assert run.code == 0
    assert run.out.splitlines() == [
        "TASK     REASON        COUNT",
        "invoice  failed        2",
        "remind   unknown_task  1",
        "would redrive 3 dead letters of queue billing",
    ]
    assert moved(broker) == []


def test_the_document_tells_all_of_it(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.stored.append(letter(4, redriven="5"))

    run = taskq("dlq", "redrive", "billing", "--task", "invoice", "--yes", "--json")

    assert run.json == {
        "queue": "billing",
        "action": "redrive",
        "to": "billing",
        "dry_run": False,
        "selected": 2,
        "moved": 2,
        "counts": [{"task": "invoice", "reason": "failed", "count": 2}],
        "left": [{"why": "often", "count": 1}],
        "unknown_ids": [],
        "failed": [],
        "fenced": False,
    }


def test_letters_go_to_another_queue(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.statuses.append(QueueStatus("invoices", 12, 0, None, 1))

    run = taskq("dlq", "redrive", "billing", "--id", "id-1", "--to", "invoices", "--yes")

    assert run.out == "redriven 1 dead letter of queue billing to queue invoices\n"
    [removal] = broker.admin.moved
    assert removal.record is not None
    assert removal.record.queue == "invoices"


@pytest.mark.parametrize("trial", [(), ("--dry-run",)])
def test_letters_go_to_no_queue_that_does_not_exist(
    taskq: Taskq, broker: FakeBroker, trial: tuple[str, ...]
) -> None:
    broker.admin.statuses.append(QueueStatus("invoices", 12, 0, None, 1))

    run = taskq("dlq", "redrive", "billing", "--all", "--to", "invoces", "--yes", *trial)

    assert (run.code, run.out, moved(broker)) == (1, "", [])
    assert run.err == (
        "taskq: there is no queue 'invoces'; did you mean 'invoices'? (--force makes it)\n"
    )


@pytest.mark.parametrize(("queue", "force"), [("new", ("--force",)), ("mail", ())])
def test_letters_go_to_a_new_queue_if_that_is_forced_or_tasks_of_the_app_go_there(
    taskq: Taskq, broker: FakeBroker, app: App, queue: str, force: tuple[str, ...]
) -> None:
    app.task("greet", queue="mail")(lambda: None)

    run = taskq("dlq", "redrive", "billing", "--id", "id-1", "--to", queue, "--yes", *force)

    assert (run.code, run.out) == (0, f"redriven 1 dead letter of queue billing to queue {queue}\n")


def test_what_came_back_five_times_or_has_expired_is_left_unless_forced(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.stored = [
        letter(1, redriven="5"),
        letter(2, expires="2026-01-01T00:00:00+00:00"),
        letter(3, version="2"),
        letter(4, redriven="4"),
    ]

    run = taskq("dlq", "redrive", "billing", "--all", "--yes")
    forced = taskq("dlq", "redrive", "billing", "--all", "--yes", "--force")

    assert run.out == "redriven 1 dead letter of queue billing\n"
    assert run.err.splitlines() == [
        "taskq: left 1: redriven 5 times or more already (--force sends them)",
        "taskq: left 1: past 'expires', so a worker would drop them (--force sends them)",
        "taskq: left 1: written by a newer taskq, in a format that this one does not know",
    ]
    assert forced.out == "redriven 2 dead letters of queue billing\n"
    assert [each.id for each in broker.admin.stored] == ["billing/0/3"]


def test_each_is_logged_with_who_and_why(
    taskq: Taskq, broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskq")

    taskq("dlq", "redrive", "billing", "--id", "id-1", "--yes", "--note", "mended\x1b")
    taskq("dlq", "discard", "billing", "--id", "id-2", "--yes")

    redriven, discarded = (record for record in caplog.records if hasattr(record, "source"))
    assert redriven.__dict__["event"] == "dlq.redriven"
    assert discarded.__dict__["event"] == "dlq.discarded"
    fields = {name: redriven.__dict__[name] for name in ("id", "task", "queue", "reason", "source")}
    assert fields == {
        "id": "id-1",
        "task": "invoice",
        "queue": "billing",
        "reason": "failed",
        "source": "billing/0/1",
    }
    assert "@" in redriven.__dict__["by"]
    assert redriven.getMessage().endswith(": mended\\x1b")


# What can go wrong


@pytest.mark.parametrize("command", ["redrive", "discard"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "select dead letters: by --id, by filters"),
        (("--all", "--id", "id-1"), "select in one way"),
        (("--all", "--task", "invoice"), "select in one way"),
        (("--id", "id-1", "--older-than", "1h"), "select in one way"),
        (("--task", ""), "--task is empty"),
        (("--id", ""), "--id is empty"),
        (("--older-than", "soon"), "'soon' is no age such as 90s, 15m, 2h30m or 7d"),
        (("--older-than", "999999999d"), "--older-than goes back before the calendar begins"),
        (("--all", "--rate", "0"), "above 0; not 0"),
        (("--all", "--rate", "-5"), "above 0; not -5"),
        (("--all", "--rate", "nan"), "above 0; not nan"),
        (("--all", "--rate", "fast"), "'fast' is not a valid float"),
        (("--al",), "did you mean '--all'?"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(
    taskq: Taskq, broker: FakeBroker, command: str, options: tuple[str, ...], said: str
) -> None:
    run = taskq("dlq", command, "billing", *options, "--yes")

    assert (run.code, run.out) == (2, "")
    assert said in run.err
    assert run.err.count("\n") == 1
    assert moved(broker) == []


@pytest.mark.parametrize("command", ["redrive", "discard"])
def test_nobody_to_ask_needs_a_yes(taskq: Taskq, broker: FakeBroker, command: str) -> None:
    run = taskq("dlq", command, "billing", "--all")

    assert (run.code, run.out) == (2, "")
    assert "add --yes" in run.err
    assert moved(broker) == []


@pytest.mark.parametrize(("answer", "gone"), [(True, 3), (False, 0)])
def test_a_person_is_asked_and_told_how_many(
    taskq: Taskq,
    broker: FakeBroker,
    monkeypatch: pytest.MonkeyPatch,
    answer: bool,
    gone: int,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def confirm(text: str, *, err: bool) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr("click.confirm", confirm)

    run = taskq("dlq", "discard", "billing", "--all")

    assert asked == ["Discard 3 dead letters of queue billing, for good?"]
    assert "2  invoice  failed" in run.err
    assert len(moved(broker)) == gone
    assert run.code == (0 if answer else 1)


@pytest.mark.parametrize(
    ("queue", "options", "said"),
    [
        ("billing", ("--id", "id-9"), "no dead letter of queue 'billing' has the id 'id-9'"),
        ("billing", ("--task", "invoce"), "fits; did you mean 'invoice'?"),
        ("billing", ("--error", "zzz"), "none of the 3 dead letters of queue 'billing' fits"),
    ],
)
def test_nothing_that_fits_is_an_error(
    taskq: Taskq, broker: FakeBroker, queue: str, options: tuple[str, ...], said: str
) -> None:
    run = taskq("dlq", "redrive", queue, *options, "--yes")

    assert (run.code, run.out) == (1, "")
    assert said in run.err
    assert run.err.count("\n") == 1
    assert moved(broker) == []
    assert broker.admin.closed_movers == 0


def test_all_of_nothing_is_done(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.stored = []

    run = taskq("dlq", "redrive", "billing", "--all", "--yes")

    assert (run.code, run.out) == (0, "redriven 0 dead letters of queue billing\n")
    assert run.err == "taskq: no dead letters of queue 'billing'\n"


def test_known_ids_go_and_unknown_ones_are_named(taskq: Taskq, broker: FakeBroker) -> None:
    run = taskq("dlq", "redrive", "billing", "--id", "id-1", "--id", "id-9", "--yes")

    assert (run.code, run.out) == (1, "redriven 1 dead letter of queue billing\n")
    assert run.err == "taskq: no dead letter has the id 'id-9'\n"


def test_one_that_cannot_be_sent_is_named_and_the_others_go(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.refuses = lambda each: (
        ValueError("too large") if each.letter.id.endswith("/2") else None
    )

    run = taskq("dlq", "redrive", "billing", "--all", "--yes")

    assert (run.code, run.out) == (1, "redriven 2 dead letters of queue billing\n")
    assert run.err == "taskq: billing/0/2 stays: too large\n"


def test_one_that_takes_over_is_said(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.taken_over_after = 0

    run = taskq("dlq", "redrive", "billing", "--all", "--yes")

    assert (run.code, run.out) == (1, "redriven 0 dead letters of queue billing\n")
    assert "another redrive or discard of queue billing has taken over" in run.err


def test_a_broker_that_goes_away_leaves_the_number_that_is_done(
    taskq: Taskq, broker: FakeBroker
) -> None:
    broker.admin.stored = [letter(number) for number in range(150)]
    broker.admin.refuses = lambda each: (
        ConnectionError("gone") if len(broker.admin.moved) >= 100 else None
    )

    run = taskq("dlq", "redrive", "billing", "--all", "--yes")

    assert (run.code, run.out) == (3, "")
    assert "taskq: redriven 100 of 150 so far; start it again for the rest\n" in run.err


@pytest.mark.parametrize("queue", ["billing.dlq", "taskq.schedules", "a/b"])
def test_what_is_no_queue_is_refused(taskq: Taskq, queue: str) -> None:
    run = taskq("dlq", "redrive", queue, "--all", "--yes")

    assert run.code == 2
    assert "invalid queue name" in run.err


# names that are wrong


@pytest.mark.parametrize(
    ("command", "after"),
    [
        (("dlq", "list"), ()),
        (("dlq", "list"), ("--count", "--task", "invoice")),
        (("dlq", "show"), ("id-1",)),
        (("dlq", "redrive"), ("--all", "--yes")),
        (("dlq", "redrive"), ("--id", "id-1", "--dry-run")),
        (("dlq", "discard"), ("--all", "--yes")),
        (("dlq", "discard"), ("--task", "invoice", "--yes")),
        (("purge",), ("--yes",)),
    ],
)
@pytest.mark.parametrize(
    ("queue", "hint"),
    [
        ("biling", "did you mean 'billing'?"),
        ("zzz", "'taskq queues' prints those that exist"),
    ],
)
def test_a_queue_that_does_not_exist_is_1_and_the_nearest_is_offered(
    taskq: Taskq,
    broker: FakeBroker,
    command: tuple[str, ...],
    after: tuple[str, ...],
    queue: str,
    hint: str,
) -> None:
    run = taskq(*command, queue, *after)

    assert (run.code, run.out) == (1, "")
    assert run.err == f"taskq: there is no queue {queue!r}; {hint}\n"
    assert (moved(broker), broker.admin.purged) == ([], [])


@pytest.mark.parametrize(
    ("command", "after"),
    [
        (("dlq", "list"), ()),
        (("dlq", "redrive", "billing"), ("--yes",)),
        (("dlq", "discard", "billing"), ("--yes",)),
    ],
)
def test_a_reason_that_there_is_not_is_2_and_needs_no_broker(
    taskq: Taskq, broker: FakeBroker, command: tuple[str, ...], after: tuple[str, ...]
) -> None:
    broker.admin.is_reachable = False

    run = taskq(*command, "--reason", "faild", *after)
    unlike = taskq(*command, "--reason", "zzz", *after)

    assert (run.code, run.err) == (2, "taskq: unknown reason 'faild'; did you mean 'failed'?\n")
    assert unlike.code == 2
    assert "retries_exhausted" in unlike.err


@pytest.mark.parametrize("queue", ["billing", "mail", "taskq.timers"])
def test_a_queue_without_letters_that_exists_or_is_the_apps_is_listed_as_empty(
    taskq: Taskq, broker: FakeBroker, app: App, queue: str
) -> None:
    broker.admin.stored = []
    app.task("greet", queue="mail")(lambda: None)

    run = taskq("dlq", "list", queue)

    assert (run.code, run.out) == (0, "")
    assert run.err == f"taskq: no dead letters of queue {queue!r}\n"


def test_letters_of_a_queue_that_is_gone_can_be_had(taskq: Taskq, broker: FakeBroker) -> None:
    broker.admin.stored = [letter(1, queue="gone")]

    assert [row["id"] for row in taskq("dlq", "list", "gone", "--json").json] == ["id-1"]
    assert taskq("dlq", "discard", "gone", "--all", "--yes").code == 0
