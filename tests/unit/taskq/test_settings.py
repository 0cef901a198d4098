from __future__ import annotations

import pickle
from typing import Any

import pytest

from taskq.errors import InvalidSetting, UnknownSetting
from taskq.settings import SETTINGS, Layer, Settings, resolve


def of(**values: Any) -> Settings:
    return resolve([Layer("flag", values)])


def test_there_are_under_thirty_settings() -> None:
    assert len(SETTINGS) < 30


def test_every_setting_is_described() -> None:
    assert all(setting.doc.endswith(".") and setting.type for setting in SETTINGS.values())


def test_every_default_is_a_value_that_the_setting_may_have() -> None:
    for setting in SETTINGS.values():
        assert setting.parse(setting.default) == setting.default


def test_the_strongest_layer_wins_and_is_remembered() -> None:
    settings = resolve([Layer("flag", {"group": "a"}), Layer("file x", {"group": "b", "grace": 3})])

    assert (settings.group, settings.source("group")) == ("a", "flag")
    assert (settings.grace, settings.source("grace")) == (3.0, "file x")
    assert settings.source("prefix") == "default"


def test_options_of_librdkafka_are_merged_by_name() -> None:
    settings = resolve(
        [
            Layer("environment", {"kafka": {"sasl.username": "env"}}),
            Layer("file x", {"kafka": {"sasl": {"username": "file", "mechanism": "PLAIN"}}}),
        ]
    )

    assert settings.kafka == {"sasl.username": "env", "sasl.mechanism": "PLAIN"}
    assert settings.source("kafka.sasl.username") == "environment"
    assert settings.source("kafka.sasl.mechanism") == "file x"


def test_values_of_librdkafka_become_its_texts() -> None:
    settings = of(kafka={"a": True, "b": 3, "c.d": "x"})

    assert settings.kafka == {"a": "true", "b": "3", "c.d": "x"}


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UnknownSetting) as caught:
        of(grops="x")

    assert (caught.value.name, caught.value.near) == ("grops", "group")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tasks_per_child", 0),
        ("max_tasks_per_child", "-3"),
        ("max_memory_per_child", 300_000),
        ("max_memory_per_child", "300"),
        ("max_memory_per_child", "0MB"),
        ("max_memory_per_child", "-1GB"),
        ("max_memory_per_child", "300 apples"),
        ("max_memory_per_child", "9" * 400 + "GB"),
        ("concurrency", 0),
        ("concurrency", "-1"),
        ("concurrency", "many"),
        ("concurrency", True),
        ("concurrency", 1.5),
        ("grace", -1),
        ("grace", "nan"),
        ("grace", "inf"),
        ("publish_timeout", 0),
        ("auto_create", "perhaps"),
        ("auto_create", 2),
        ("pool", "thread"),
        ("log_level", 10),
        ("default_queue", "a b"),
        ("default_queue", "x.dlq"),
        ("prefix", "a/"),
        ("broker", "kafka://localhost:9092"),
        ("broker", ""),
        ("broker", 9092),
        ("app", [1]),
        ("kafka", "x"),
        ("kafka", {"a": []}),
        ("group", ""),
        ("group", "a/b"),
        ("group", "g" * 300),
        ("claim_ahead", 65),
    ],
)
def test_an_impossible_value_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidSetting) as caught:
        of(**{name: value})

    assert caught.value.name == name
    assert caught.value.source == f"flag --{name.replace('_', '-')}"


def test_a_wrong_value_is_told_with_its_name_where_it_stands() -> None:
    with pytest.raises(InvalidSetting, match=r"\(environment TASKQ_CLAIM_AHEAD\)"):
        resolve([Layer("environment", {"claim_ahead": "x"})])
    with pytest.raises(InvalidSetting, match=r"\(file taskq.toml\)"):
        resolve([Layer("file taskq.toml", {"claim_ahead": "x"})])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("concurrency", "8", 8),
        ("concurrency", "", None),
        ("grace", "0", 0.0),
        ("claim_ahead", "0", 0),
        ("auto_create", "no", False),
        ("app", "a, b:app", ("a", "b:app")),
        ("pool", "Threads", "threads"),
        ("accept_content", ["json", "yaml"], ("json", "yaml")),
    ],
)
def test_text_of_flags_and_environment_becomes_a_value(
    name: str, value: object, expected: object
) -> None:
    assert getattr(of(**{name: value}), name) == expected


def test_secrets_are_masked() -> None:
    settings = of(
        broker="taskq://me:hidden@host:9092",
        kafka={"sasl.password": "hidden", "ssl.key.pem": "hidden", "sasl.username": "me"},
    )

    assert "hidden" not in repr(settings)
    assert settings.shown()["broker"] == "taskq://me:***@host:9092"
    assert settings.shown()["kafka"]["sasl.username"] == "me"


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(InvalidSetting) as caught:
        of(broker="taskq://me:hidden@host:port")

    assert "hidden" not in str(caught.value)


def test_settings_survive_the_way_to_a_child_process() -> None:
    settings = of(group="x", kafka={"a": "b"})

    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301  # our own bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("300MB", 300_000_000), ("512MiB", 2**29), ("1.5g", 1_500_000_000), (" 64 kib ", 65_536)],
)
def test_a_size_is_read_by_its_unit(text: str, size: int) -> None:
    assert of(max_memory_per_child=text).max_memory_per_child == size
