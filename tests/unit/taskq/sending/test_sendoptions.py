from __future__ import annotations

from typing import Any

import pytest

from taskq.errors import EncodeError, InvalidArguments, InvalidQueueName, UnknownOption
from taskq.sending.sendoptions import SEND_OPTIONS, SendOptions, refuse_unknown


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UnknownOption) as caught:
        refuse_unknown({"quue": 1}, SEND_OPTIONS, "options")

    assert (caught.value.name, caught.value.near) == ("quue", "queue")


@pytest.mark.parametrize("name", ["shadow", "link"])
def test_an_option_that_is_not_built_is_said_to_be_missing(name: str) -> None:
    with pytest.raises(UnknownOption, match="has no such option") as caught:
        refuse_unknown({name: 1}, SEND_OPTIONS, "apply_async")

    assert caught.value.near is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"queue": "a b"}, InvalidQueueName),
        ({"task_id": ""}, InvalidArguments),
        ({"task_id": 3}, InvalidArguments),
        ({"key": 3}, InvalidArguments),
        ({"headers": {"eta": "x"}}, EncodeError),
        ({"headers": {"task": "x"}}, EncodeError),
    ],
)
def test_options_of_a_wrong_kind_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        SendOptions(**options).check("t")


def test_a_key_is_bytes_on_the_record() -> None:
    assert SendOptions(key="é").key_bytes == "é".encode()
    assert SendOptions(key=b"\xff").key_bytes == b"\xff"
