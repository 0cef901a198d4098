from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import taskq
from taskq.errors import InvalidSetting, UnknownSetting
from taskq.settings import Settings
from taskq.sources import read_sources


def settings(directory: Path, *, config: str | None = None, **environ: str) -> Settings:
    return read_sources(config=config, environ=environ, directory=directory).settings({})


def test_without_file_and_environment_all_is_default(tmp_path: Path) -> None:
    assert settings(tmp_path) == Settings()


def test_flag_stands_over_environment_over_file_over_code(tmp_path: Path) -> None:
    (tmp_path / "taskq.toml").write_text(
        'group = "file"\nprefix = "file"\ndefault_queue = "file"\n'
    )
    sources = read_sources(
        environ={"TASKQ_GROUP": "env", "TASKQ_PREFIX": "env"}, directory=tmp_path
    )

    found = sources.with_flags({"group": "flag", "name": None}).settings(
        {"default_queue": "code", "namespace": "code"}
    )

    assert (found.group, found.prefix, found.default_queue, found.namespace) == (
        "flag",
        "env",
        "file",
        "code",
    )
    assert found.source("default_queue") == f"file {tmp_path / 'taskq.toml'}"
    assert found.source("prefix") == "environment"
    assert found.source("name") == "default"


def test_taskq_toml_stands_before_pyproject(tmp_path: Path) -> None:
    (tmp_path / "taskq.toml").write_text('group = "a"')
    (tmp_path / "pyproject.toml").write_text('[tool.taskq]\ngroup = "b"')

    assert settings(tmp_path).group == "a"


def test_pyproject_is_read_where_it_has_our_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.taskq]\ngroup = "b"\n[tool.taskq.kafka]\nx = 1')

    found = settings(tmp_path)

    assert (found.group, found.kafka) == ("b", {"x": "1"})
    assert found.directory == str(tmp_path)


def test_pyproject_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.other]\ngroup = "b"')

    assert settings(tmp_path).directory == ""


def test_a_file_may_be_named_by_flag_or_environment(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('group = "one"')
    (tmp_path / "two.toml").write_text('group = "two"')

    assert settings(tmp_path, TASKQ_CONFIG="one.toml").group == "one"
    assert settings(tmp_path, config="two.toml", TASKQ_CONFIG="one.toml").group == "two"


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting):
        settings(tmp_path, config="absent.toml")


def test_a_file_that_is_no_toml_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "taskq.toml").write_text("group = ")

    with pytest.raises(InvalidSetting, match="not TOML"):
        settings(tmp_path)


def test_an_unknown_setting_in_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taskq.toml").write_text('brokr = "x"')

    with pytest.raises(UnknownSetting) as caught:
        settings(tmp_path)

    assert caught.value.near == "broker"


@pytest.mark.parametrize("header", ["[taskq]", "[tool.taskq]"])
def test_a_table_around_the_settings_of_our_file_is_refused(header: str, tmp_path: Path) -> None:
    (tmp_path / "taskq.toml").write_text(f'{header}\ngroup = "a"\n')

    with pytest.raises(InvalidSetting) as caught:
        settings(tmp_path)

    assert f"in no table; leave {header} out" in str(caught.value)


def test_an_unknown_variable_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        settings(tmp_path, TASKQ_SERVICE_HOST="10.0.0.1", OTHER="x")

    assert [record.__dict__["event"] for record in caplog.records] == ["settings.unknown_variable"]


def test_variables_of_a_cluster_are_no_options_of_librdkafka(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        TASKQ_KAFKA_SERVICE_HOST="10.0.0.1",
        TASKQ_KAFKA_SERVICE_PORT_TLS="9093",
        TASKQ_KAFKA_PORT="tcp://10.0.0.1:9092",
        TASKQ_KAFKA_PORT_9092_TCP_ADDR="10.0.0.1",
    )

    assert found.kafka == {}


def test_options_of_librdkafka_come_from_the_environment(tmp_path: Path) -> None:
    assert settings(tmp_path, TASKQ_KAFKA_SASL_USERNAME="me").kafka == {"sasl.username": "me"}


def test_schedule_files_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "taskq.toml").write_text('schedule = ["a.json", "/b.json"]')

    found = settings(tmp_path, config="conf/taskq.toml")

    assert found.schedule == (str(tmp_path / "conf" / "a.json"), "/b.json")


def test_nobody_else_touches_the_environment() -> None:
    package = Path(taskq.__file__).parent
    files = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"\bos\.(environ|getenv|putenv)\b", file.read_text(encoding="utf-8"))
    }

    assert files == {"sources.py"}
