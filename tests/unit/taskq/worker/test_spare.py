from __future__ import annotations

from taskq.worker.spare import ASK_EVERY, FIRST_ASK, Spare


def asks(spare: Spare, now: float) -> bool:
    return spare.should_ask(now, has_partitions=False)


def test_nothing_is_asked_while_an_assignment_may_be_on_its_way() -> None:
    spare = Spare()

    assert not asks(spare, 100.0)
    assert not asks(spare, 99.9 + FIRST_ASK)
    assert asks(spare, 100.0 + FIRST_ASK)


def test_a_question_without_an_answer_is_repeated_later() -> None:
    spare = Spare()
    asks(spare, 0.0)

    assert asks(spare, FIRST_ASK)
    assert not asks(spare, FIRST_ASK + 1)
    assert asks(spare, FIRST_ASK + ASK_EVERY)


def test_it_is_said_once() -> None:
    spare = Spare()
    asks(spare, 0.0)
    asks(spare, FIRST_ASK)

    spare.settle()

    assert not asks(spare, 1000.0)


def test_it_is_said_again_after_a_partition_came_and_went() -> None:
    spare = Spare()
    asks(spare, 0.0)
    spare.settle()

    assert not spare.should_ask(10.0, has_partitions=True)

    assert not asks(spare, 11.0)
    assert asks(spare, 11.0 + FIRST_ASK)
