"""What the fault lab has found on one size of cluster, as JSON and as a page of Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from tests.scenarios.lab.faults import Fault
from tests.scenarios.lab.freezes import Freeze
from tests.scenarios.lab.report import Report

Document = Mapping[str, Any]


def document(nodes: int, total: Report, freezes: Sequence[Freeze]) -> dict[str, Any]:
    """Return the figures of all rounds together."""
    faults = sum(total.faults.values())
    return {
        "nodes": nodes,
        "faults": total.faults,
        "seconds": total.seconds,
        "at_most_once": {
            "sent": total.sent - total.late,
            "once": total.once,
            "never": total.never,
            "never_bound": total.most_lost,
            "twice": total.twice,
        },
        "at_least_once": {
            "sent": total.late,
            "once": total.late_once,
            "never": total.late_never,
            "twice": total.late_again,
            "twice_per_fault": round(total.late_again / faults, 3) if faults else 0.0,
            "starts_again_by_fault": total.again_by,
        },
        "perhaps_sent": total.unknown,
        "longest_stall_seconds": total.longest_stall,
        "longest_wait_seconds": total.longest_wait,
        "frozen_owner_of_timers": {
            name: _freezes([each for each in freezes if each.has_heir is has_heir])
            for name, has_heir in (("with_an_heir", True), ("alone", False))
        },
        "problems": total.problems,
        "seeds": total.seeds,
    }


def _freezes(freezes: Sequence[Freeze]) -> dict[str, Any]:
    return {
        "waits_seconds": [each.wait for each in freezes],
        "gaps_seconds": [each.gap for each in freezes],
        "held_partitions": [each.held for each in freezes],
    }


def page(labs: Iterable[Document], machine: Mapping[str, str]) -> str:
    """Return a page with a section for each size of cluster."""
    lines = [
        "# Faults",
        "",
        "`python -m benchmarks.faults`: what was done, and what came of it.",
        "",
    ]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    for lab in labs:
        lines += ["", *_section(lab)]
    return "\n".join(lines) + "\n"


def _section(lab: Document) -> list[str]:
    once, late, again = (
        lab["at_most_once"],
        lab["at_least_once"],
        lab["at_least_once"]["starts_again_by_fault"],
    )
    rows = [
        (fault.value, lab["faults"].get(fault.name, 0), again.get(fault.name, 0)) for fault in Fault
    ]
    return [
        f"## {_title(lab['nodes'])}",
        "",
        f"{sum(lab['faults'].values())} faults in {lab['seconds'] / 60:,.0f} minutes.",
        "",
        *_table(
            ["fault", "times", "at least once: starts that were not the first"],
            [[name, f"{times:,}", f"{count:,}"] for name, times, count in rows if times],
        ),
        "",
        *_table(
            ["", "sent", "ran once", "never", "might have been lost", "twice"],
            [
                ["at most once", *_numbers(once, "sent", "once", "never", "never_bound", "twice")],
                [
                    "at least once",
                    *_numbers(late, "sent", "once", "never"),
                    "0",
                    f"{late['twice']:,} ({late['twice_per_fault']:.3g} a fault)",
                ],
            ],
        ),
        "",
        f"{lab['perhaps_sent']:,} more were sent without an acknowledgement; those that ran are counted as run.",
        f"Longest time in which no task started: {lab['longest_stall_seconds']:.1f} s.",
        f"Longest wait of a task: {lab['longest_wait_seconds']:.1f} s.",
        "",
        *_frozen(lab["frozen_owner_of_timers"]),
        *(f"**Wrong:** {problem}" for problem in lab["problems"]),
    ]


def _title(nodes: int) -> str:
    if nodes == 1:
        return "One broker"
    return f"{nodes} brokers: replication {nodes}, min.insync.replicas {nodes - 1}"


def _frozen(found: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            name,
            str(len(waits)),
            *(f"{value:.1f} s" for value in (median(waits), max(waits), max(gaps))),
        ]
        for name, key in (
            ("another one takes over", "with_an_heir"),
            ("it is the only one", "alone"),
        )
        if (waits := found[key]["waits_seconds"]) and (gaps := found[key]["gaps_seconds"])
    ]
    head = [
        "an owner of timers is frozen in the middle of a transaction",
        "times",
        "longest wait of a plain task, median",
        "longest",
        "longest time in which none started",
    ]
    return _table(head, rows) if rows else []


def _numbers(counts: Mapping[str, int], *names: str) -> list[str]:
    return [f"{counts[name]:,}" for name in names]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
