"""`taskq config`: the settings, and where each came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_rows
from taskq.settings import Settings

if TYPE_CHECKING:
    from taskq.app import App


@click.command(cls=TaskqCommand, data=True)
@pass_invocation
def config(invocation: Invocation) -> None:
    """Print each setting, its value, and where it came from; secrets are masked.

    Exit code 2: the client does not take one of them, which is said after the table. No broker is asked.
    """
    app = invocation.app()
    print_rows(list(_rows(app.settings)), ("name", "value", "source"), as_json=invocation.json)
    _check(app)


def _check(app: App) -> None:
    """Raise what every other command would raise about options of the client: it looks at them when it is made."""
    try:
        with app.broker.errors():
            app.broker.admin  # noqa: B018 - making it is the check
    finally:
        app.close()


def _rows(settings: Settings) -> list[dict[str, Any]]:
    rows = []
    for name, value in settings.shown().items():
        if name != "kafka":
            rows.append({"name": name, "value": value, "source": settings.source(name)})
            continue
        for option, text in value.items():
            full = f"kafka.{option}"
            rows.append({"name": full, "value": text, "source": settings.source(full)})
    return rows
