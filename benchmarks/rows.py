"""A measured figure, medians of several, and the table that is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """One figure of one run."""

    measure: str
    """What was measured, such as `throughput -c 2`."""

    system: str
    figure: str
    """What was counted, such as `tasks/s`."""

    value: float


@dataclass(frozen=True)
class Median:
    """One figure over all runs."""

    measure: str
    system: str
    figure: str
    values: Sequence[float]

    @property
    def value(self) -> float:
        """The median."""
        return median(self.values)


def medians(rows: Iterable[Row]) -> list[Median]:
    """Group rows by what they measure, in the order of their first appearance."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        values.setdefault((row.measure, row.system, row.figure), []).append(row.value)
    return [Median(*key, tuple(each)) for key, each in values.items()]


def table(found: Sequence[Median], machine: Mapping[str, str]) -> str:
    """Return a page of Markdown: the machine, then a table a measure with a row a system."""
    lines = ["# Figures", "", "Medians; in brackets the least and the greatest run.", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    for measure in dict.fromkeys(each.measure for each in found):
        rows = [each for each in found if each.measure == measure]
        figures = list(dict.fromkeys(each.figure for each in rows))
        lines += ["", f"## {measure}", "", "| | " + " | ".join(figures) + " |"]
        lines.append("| --- |" + " ---: |" * len(figures))
        for system in dict.fromkeys(each.system for each in rows):
            cells = {each.figure: _cell(each) for each in rows if each.system == system}
            lines.append(f"| {system} | " + " | ".join(cells.get(f, "-") for f in figures) + " |")
    return "\n".join(lines) + "\n"


def _cell(each: Median) -> str:
    spread = f" ({_number(min(each.values))}-{_number(max(each.values))})"
    return _number(each.value) + (spread if len(each.values) > 1 else "")


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share (0 to 1) of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
