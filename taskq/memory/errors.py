"""What `memory://` refuses. There is no network, so nothing else goes wrong.

OptionInvalid          ValueError; .option .why .near
QueueNameInvalid       ValueError; .queue .why
QueueMissing           LookupError; .queue
RecordTooLarge         ValueError; .queue .size

`sent` is what protocols.py has of a failed publish: False, the record was certainly not sent.
"""

from __future__ import annotations


class OptionInvalid(ValueError):
    """A transport option has an unknown name or an impossible value."""

    def __init__(self, option: str, why: str, *, near: str | None = None) -> None:
        self.option = option
        self.why = why
        self.near = near
        hint = f"; did you mean {near!r}?" if near else ""
        super().__init__(f"option {option!r}: {why}{hint}")


class QueueNameInvalid(ValueError):
    """A queue has a name that Kafka would not take for its topic."""

    sent = False

    def __init__(self, queue: str, why: str) -> None:
        self.queue = queue
        self.why = why
        super().__init__(f"queue {queue!r}: {why}")


class QueueMissing(LookupError):
    """A queue does not exist and is not to be made here."""

    sent = False

    def __init__(self, queue: str) -> None:
        self.queue = queue
        super().__init__(f"queue {queue!r} does not exist; create it or set auto_create")


class RecordTooLarge(ValueError):
    """A record is larger than Kafka would take by default."""

    sent = False

    def __init__(self, queue: str, size: int) -> None:
        self.queue = queue
        self.size = size
        super().__init__(
            f"a record for queue {queue!r} has {size} bytes, more than Kafka takes by default; "
            "send a reference to the data instead"
        )
