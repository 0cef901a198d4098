from __future__ import annotations

import pytest

from taskq.dev.watch import check_watchfiles
from taskq.errors import UsageError


def test_reload_without_watchfiles_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.dev.watch.find_spec", lambda name: None)

    with pytest.raises(UsageError, match=r"pip install 'taskq-kafka\[reload\]'"):
        check_watchfiles()
