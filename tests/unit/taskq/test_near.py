from __future__ import annotations

from taskq.near import nearest


def test_the_nearest_name_is_found_in_any_case() -> None:
    assert nearest("INVOCE", ["birthday", "Invoice"]) == "Invoice"


def test_nothing_is_offered_where_nothing_is_like_it() -> None:
    assert nearest("xyz", ["birthday", "invoice"]) is None
