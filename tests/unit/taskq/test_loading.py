from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq.app import default_app
from taskq.errors import AppNotFound, DuplicateTask
from taskq.loading import load_app

APP = "from taskq import App\napp = App('one')\n"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory for modules, forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    registered = dict(default_app.registry._by_name)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    default_app.registry._by_name.clear()
    default_app.registry._by_name.update(registered)


def why(*names: str) -> str:
    with pytest.raises(AppNotFound) as caught:
        load_app(names)
    assert "\n" not in str(caught.value)
    return caught.value.why


def test_a_module_in_the_working_directory_is_found(modules: Path) -> None:
    (modules / "own_a.py").write_text(APP)

    assert load_app(["own_a"]).name == "one"


def test_a_module_beside_the_configuration_file_is_found(modules: Path) -> None:
    (modules / "conf").mkdir()
    (modules / "conf" / "own_b.py").write_text(APP)

    assert load_app(["own_b"], str(modules / "conf")).name == "one"


def test_an_app_may_be_named(modules: Path) -> None:
    (modules / "own_c.py").write_text(APP + "other = App('two')\n")

    assert load_app(["own_c:other"]).name == "two"


def test_a_module_without_app_means_the_default_app(modules: Path) -> None:
    (modules / "own_d.py").write_text("from taskq import task\n@task\ndef t(): ...\n")

    assert load_app(["own_d"]) is default_app
    assert "own_d.t" in default_app.registry


def test_no_module_means_the_default_app() -> None:
    assert load_app([]) is default_app


def test_several_modules_may_share_an_app(modules: Path) -> None:
    (modules / "own_e.py").write_text(APP)
    (modules / "own_f.py").write_text("from own_e import app\n@app.task\ndef t(): ...\n")

    assert load_app(["own_e", "own_f"]).registry.names() == ["own_f.t"]


def test_modules_with_different_apps_are_refused(modules: Path) -> None:
    (modules / "own_g.py").write_text(APP)
    (modules / "own_h.py").write_text(APP)

    assert "another app" in why("own_g", "own_h")


def test_several_apps_in_a_module_must_be_told_apart(modules: Path) -> None:
    (modules / "own_i.py").write_text(APP + "other = App('two')\n")

    assert "own_i:app, own_i:other" in why("own_i")


def test_an_app_that_is_not_there_names_the_nearest(modules: Path) -> None:
    (modules / "own_j.py").write_text(APP)

    assert "did you mean own_j:app?" in why("own_j:apps")


def test_a_module_that_is_not_there_is_named(modules: Path) -> None:
    assert "there is no module 'own_absent'" in why("own_absent")


def test_a_module_that_is_not_there_names_the_nearest_beside_it(modules: Path) -> None:
    (modules / "own_shop.py").write_text(APP)
    (modules / "own_package").mkdir()
    (modules / "own_package" / "__init__.py").write_text("")
    (modules / "own_package" / "tasks.py").write_text(APP)

    assert why("own_shpo").endswith("; did you mean own_shop?")
    assert why("own_pakage.tasks:app").endswith("; did you mean own_package.tasks?")
    assert why("own_package.taks").endswith("; did you mean own_package.tasks?")
    assert "did you mean" not in why("zzz")


@pytest.mark.parametrize("name", ["own.py", "own/x", "", ".own", ":app"])
def test_what_is_no_modules_name_is_refused(name: str, modules: Path) -> None:
    (modules / "own.py").write_text(APP)

    assert why(name)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("own_l.py", "own_l"),
        ("./own_l.py:app", "own_l:app"),
        ("folder/own_m.py", "folder.own_m"),
    ],
)
def test_a_files_name_is_answered_with_its_modules(name: str, write: str, modules: Path) -> None:
    (modules / "own_l.py").write_text("raise ValueError('imported')")
    (modules / "folder").mkdir()
    (modules / "folder" / "own_m.py").write_text("")

    assert why(name).endswith(f"is no module's name; write -A {write}")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("x = 1\nraise ValueError('no luck')", "ValueError: no luck ("),
        ("import json\njson.loads('{')", "own_bad.py:2"),
        ("def f(:", "SyntaxError"),
        ("import own_missing", "own_missing"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import taskq\n@taskq.task(qeue='q')\ndef t(): ...", "did you mean 'queue'? ("),
        ("import taskq\n@taskq.task(queue='a b')\ndef t(): ...", "own_bad.py:2"),
    ],
)
def test_a_module_that_fails_is_one_line_with_its_place(
    code: str, says: str, modules: Path
) -> None:
    (modules / "own_bad.py").write_text(code)

    text = why("own_bad")

    assert says in text
    assert "own_bad.py:" in text


@pytest.mark.parametrize(
    "reached", ["", "broker.publisher.fails = lambda message: TimeoutError()\n"]
)
def test_a_module_that_sends_while_it_is_imported_is_told_where_to_send(
    reached: str, modules: Path
) -> None:
    (modules / "own_n.py").write_text(
        "from tests.support.fake_broker import isolated_app\napp, broker = isolated_app()\n"
        f"{reached}@app.task('t')\ndef t(): ...\nt.delay()\n"
    )

    text = why("own_n")

    assert "it sends a task while it is imported" in text
    assert 'under `if __name__ == "__main__":`' in text


def test_two_tasks_of_one_name_are_told_with_both_places(modules: Path) -> None:
    (modules / "own_k.py").write_text(
        "from taskq import App\napp = App()\n"
        "@app.task('t')\ndef a(): ...\n@app.task('t')\ndef b(): ...\n"
    )

    with pytest.raises(DuplicateTask):
        load_app(["own_k"])
