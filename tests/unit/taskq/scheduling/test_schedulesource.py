"""What schedules in code are: whose, and under which namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq.errors import ScheduleFileError, UsageError
from taskq.scheduling.schedule import ScheduleEntry, read_entries
from taskq.scheduling.schedulesource import ScheduleSource, offers_of_code


def entry(id: str, cron: str = "@daily") -> ScheduleEntry:
    entries, problems = read_entries([{"id": id, "cron": cron, "task": id}])
    assert problems == []
    return entries[0]


def namespaces(modules: list[str], *of: str, namespace: str | None = None) -> list[str]:
    offers = offers_of_code([(module, entry("a")) for module in of], modules, namespace)
    return [offer.namespace for offer in offers]


@pytest.mark.parametrize(
    ("modules", "module", "namespace"),
    [
        (["shop"], "shop", "shop"),
        (["shop:app"], "shop", "shop"),
        (["shop"], "shop.billing", "shop"),
        (["shop", "shop.billing"], "shop.billing.late", "shop.billing"),
        (["shop", "stock"], "stock", "stock"),
        (["shop", "stock"], "elsewhere", "shop"),
        (["shop"], "shopping", "shop"),
        ([], "shop", "shop"),
    ],
)
def test_a_task_belongs_to_the_module_of_the_command_line(
    modules: list[str], module: str, namespace: str
) -> None:
    assert namespaces(modules, module) == [namespace]


def test_a_namespace_that_is_given_is_for_all() -> None:
    assert namespaces(["shop", "stock"], "shop", "stock", namespace="n") == ["n", "n"]


def test_a_namespace_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(UsageError, match="namespace"):
        namespaces(["shop"], "shop", namespace="a/b")


def test_the_digest_tells_the_content() -> None:
    (one,) = offers_of_code([("shop", entry("a"))], ["shop"])
    (same,) = offers_of_code([("shop", entry("a"))], ["shop"])
    (other,) = offers_of_code([("shop", entry("a", "@hourly"))], ["shop"])

    assert one.digest == same.digest != other.digest
    assert (one.origin, one.source) == ("code:shop", "module shop")


def test_origin_of_a_file_is_its_name_alone(tmp_path: Path) -> None:
    source = ScheduleSource(str(tmp_path / "jobs.json"))
    (tmp_path / "jobs.json").write_text("[]", "utf-8")

    offer = source.offer(source.read())

    assert (offer.origin, offer.namespace) == ("file:jobs.json", "jobs")
    assert offer.source == str(tmp_path / "jobs.json")


def test_directory_is_no_file() -> None:
    with pytest.raises(ScheduleFileError, match="directory"):
        ScheduleSource("/")


def test_a_refused_file_is_tried_again_ever_more_seldom_and_at_once_when_it_changes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "jobs.json"
    path.write_text("[]", "utf-8")
    source = ScheduleSource(str(path))
    source.read()
    path.write_text("[] ", "utf-8")
    tried: list[int] = []
    for look in range(300):
        if source.read_if_changed() is not None:
            tried.append(look)
            source.refuse(UsageError("in the way"))

    assert tried == [0, 1, 3, 6, 11, 20, 37, 70, 135, 200, 265]

    path.write_text("[]  ", "utf-8")
    assert source.read_if_changed() is not None
