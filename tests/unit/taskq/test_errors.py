from __future__ import annotations

import pickle
from typing import Any

import pytest

import taskq
from taskq import errors

EXAMPLES: dict[type[errors.TaskqError], Any] = {
    errors.AppNotFound: errors.AppNotFound("m:app", "there is none"),
    errors.BrokerRefused: errors.BrokerRefused("h:1", "no rights"),
    errors.BrokerUnreachable: errors.BrokerUnreachable("h:1", "refused"),
    errors.DecodeError: errors.DecodeError("unreadable", "no JSON"),
    errors.DuplicateTask: errors.DuplicateTask("t", "a.py:1", "b.py:2"),
    errors.EncodeError: errors.EncodeError("t", "argument 1", "no JSON"),
    errors.InvalidArguments: errors.InvalidArguments("t", "missing a"),
    errors.InvalidQueueName: errors.InvalidQueueName("a b", "a space"),
    errors.InvalidSchedule: errors.InvalidSchedule("* *", "standard", "two fields"),
    errors.InvalidSetting: errors.InvalidSetting("group", 3, "no text", source="flag"),
    errors.PublishFailed: errors.PublishFailed("id", "q", "timed out"),
    errors.ScheduleFileError: errors.ScheduleFileError("f.json", ["one", "two"]),
    errors.SoftTimeLimitExceeded: errors.SoftTimeLimitExceeded(25),
    errors.TimeLimitExceeded: errors.TimeLimitExceeded(30),
    errors.UnknownOption: errors.UnknownOption("quue", "queue", where="options"),
    errors.UnknownSetting: errors.UnknownSetting("grup", "group", source="file x"),
    errors.UnknownTask: errors.UnknownTask("invoce", "billing", "invoice"),
    errors.UsageError: errors.UsageError("wrong"),
    taskq.Ignore: taskq.Ignore("nothing to do"),
    taskq.Reject: taskq.Reject("poison"),
}


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_errors_are_one_line_and_survive_pickling(kind: type[errors.TaskqError]) -> None:
    error = EXAMPLES[kind]

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes

    assert "\n" not in str(error)
    assert (type(copy), str(copy), copy.__dict__) == (kind, str(error), error.__dict__)


def test_every_error_has_an_example() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.TaskqError)
    }

    assert defined - {errors.TaskqError} <= set(EXAMPLES)


def test_the_near_match_is_offered() -> None:
    text = str(EXAMPLES[errors.UnknownTask])

    assert text == "unknown task 'invoce' in queue 'billing'; did you mean 'invoice'?"


@pytest.mark.parametrize(("maybe", "says"), [(True, "may have been sent"), (False, "not sent")])
def test_a_failed_publish_says_whether_it_may_have_been_sent(maybe: bool, says: str) -> None:
    assert says in str(errors.PublishFailed("id", "q", "why", maybe_sent=maybe))


def test_errors_that_python_has_a_word_for_are_of_its_type_too() -> None:
    assert issubclass(errors.InvalidArguments, TypeError)
    assert issubclass(errors.UnknownOption, TypeError)
    assert issubclass(errors.EncodeError, ValueError)
