"""Writes the reference pages' tables from the code: settings, commands, events.

`python docs/reference.py` writes them; a test compares them with the code. What stands in a page between the lines
`<!-- taskq: NAME -->` and `<!-- taskq: end -->` is the Markdown that `GENERATED[NAME]` makes; all else is written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from taskq.cli.groups import TaskqGroup
from taskq.cli.main import cli
from taskq.cli.options import common_options
from taskq.events import EVENTS, METRICS
from taskq.settings import SETTINGS

PAGES = Path(__file__).parent / "reference"
MARK = re.compile(r"^<!-- taskq: (\w+) -->\n.*?^<!-- taskq: end -->$", re.MULTILINE | re.DOTALL)


def outdated() -> Mapping[Path, str]:
    """Return the pages that are not what the code makes them, and what they should be."""
    pages = {}
    for path in sorted(PAGES.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        now = filled(text)
        if now != text:
            pages[path] = now
    return pages


def filled(text: str) -> str:
    """Return a page with what belongs between its marks.

    Raises:
        KeyError: A mark has an unknown name.
    """
    return MARK.sub(lambda match: _section_of(match[1]), text)


def _section_of(name: str) -> str:
    text = re.sub(r"\n{3,}", "\n\n", GENERATED[name]().strip())
    return f"<!-- taskq: {name} -->\n\n{text}\n\n<!-- taskq: end -->"


def settings() -> str:
    """Return the table of all settings."""
    lines = [
        "| name | value | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for row in SETTINGS.values():
        cells = (f"`{row.name}`", row.type, _default(row.default), row.doc)
        lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines)


def events() -> str:
    """Return the table of all events of log records."""
    lines = ["| event | meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in EVENTS.items()]
    return "\n".join(lines)


def metrics() -> str:
    """Return the table of all metrics."""
    lines = ["| metric | meaning |", "| --- | --- |"]
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in METRICS.items()]
    return "\n".join(lines)


def commands() -> str:
    """Return a section for each command, with its options, and first the options that all take."""
    context = click.Context(cli, info_name="taskq")
    parts = ["## Options of all commands\n", _options(_common())]
    parts += [*_sections(context), *_aliases()]
    return "\n".join(parts)


GENERATED: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "events": events,
    "metrics": metrics,
    "settings": settings,
}


def _default(value: Any) -> str:
    if value is None or value == "" or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{int(value) if isinstance(value, float) and value.is_integer() else value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _common() -> list[click.Parameter]:
    return common_options(json=True)


def _sections(context: click.Context) -> Iterator[str]:
    """Yield the section of each command below a group, those of groups after their group's."""
    group = context.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        yield from _section(command, inner)
        if isinstance(command, click.Group):
            yield from _sections(inner)


def _aliases() -> Iterator[str]:
    """Yield a section for the commands that `--help` does not list, which are other names of some that it does."""
    assert isinstance(cli, TaskqGroup)
    names = {entry.path: name for name, entry in cli.lazy.items() if not entry.hidden}
    pairs = [(name, names.get(entry.path)) for name, entry in cli.lazy.items() if entry.hidden]
    if pairs:
        yield "\n## Other names\n"
    for name, same in pairs:
        if same:
            yield f"- `taskq {name}` is `taskq {same}`."


def _section(command: click.Command, context: click.Context) -> Iterator[str]:
    common = {name for option in _common() for name in option.opts}
    own = [
        parameter
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        and not parameter.hidden
        and not common & set(parameter.opts)
        and "--help" not in parameter.opts
    ]
    takes_json = any("--json" in parameter.opts for parameter in command.get_params(context))
    usage = " ".join([context.command_path, *_pieces(command, context)])
    yield f"\n## {context.command_path}\n"
    yield f"```text\n{usage}\n```\n"
    yield f"{_help(command)}\n"
    if own:
        yield _options(own)
    if takes_json and not isinstance(command, click.Group):
        yield "\nPrints data: takes `--json`.\n"


def _pieces(command: click.Command, context: click.Context) -> list[str]:
    """Return the words of the usage line; what all commands take is left out."""
    if isinstance(command, click.Group):
        return ["COMMAND ..."]
    return [piece for piece in command.collect_usage_pieces(context) if piece]


def _help(command: click.Command) -> str:
    """Return a command's help as Markdown; what click leaves as it is stands as it is here, too."""
    return "\n\n".join(map(_paragraph, inspect.cleandoc(command.help or "").split("\n\n")))


def _paragraph(text: str) -> str:
    first, _, rest = text.partition("\n")
    if first == "\b":
        return f"```text\n{inspect.cleandoc(rest)}\n```"
    # Words such as <TAB> or *.json are text, not markup.
    return re.sub(r"([<>*_|])", r"\\\1", text)


def _options(options: list[Any]) -> str:
    lines = ["| option | meaning |", "| --- | --- |"]
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        value = "" if option.is_flag else f" `{option.metavar or option.type.name.upper()}`"
        help_text = re.sub(r"([<>*_])", r"\\\1", option.help or "")
        lines.append(f"| {names}{value} | {_cell(help_text)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write what is outdated, and say which pages that were."""
    for path, text in outdated().items():
        path.write_text(text, encoding="utf-8")
        print(f"written: docs/reference/{path.name}")


if __name__ == "__main__":
    main()
