"""`taskq config`: the settings, and where each came from."""

from __future__ import annotations

from typing import Any

import click

from taskq.cli.options import Invocation, TaskqCommand, pass_invocation
from taskq.cli.output import print_rows
from taskq.settings import Settings


@click.command(cls=TaskqCommand, data=True)
@pass_invocation
def config(invocation: Invocation) -> None:
    """Print each setting, its value, and where it came from; secrets are masked."""
    rows = list(_rows(invocation.app().settings))
    print_rows(rows, ("name", "value", "source"), as_json=invocation.json)


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
