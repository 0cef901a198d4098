"""Names for what a test makes on a broker: new for each run, and telling which test it was."""

from __future__ import annotations

import re
import uuid


def fresh_name(test: str) -> str:
    """Return a name for a topic, queue or group from a test's name; never the same twice."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", test.removeprefix("test_")).strip("-")
    return f"{readable[:80]}-{uuid.uuid4().hex[:8]}"
