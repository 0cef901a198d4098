"""`python -m benchmarks`: measure everything, several times, and keep medians as JSON and as a table."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benchmarks import (
    enqueue,
    keys,
    latency,
    peers,
    priorities,
    schedules,
    servers,
    throughput,
    timers,
)
from benchmarks.machine import description
from benchmarks.rows import Row, medians, table

RESULTS = Path(__file__).parent / "results"

Measure = Callable[[str, "str | None"], Iterator[Row]]


def _beat(bootstrap: str, redis: str | None) -> Iterator[Row]:
    yield from schedules.beat(bootstrap, 20)
    if redis is not None:
        yield from schedules.celery_beat(redis, 20)


MEASURES: Mapping[str, Measure] = {
    "throughput": lambda kafka, redis: throughput.all_systems(kafka, redis, 20_000),
    "late": lambda kafka, redis: throughput.late_acks(kafka, 20_000),
    "keys": lambda kafka, redis: keys.all_keys(kafka, 20_000),
    "enqueue": enqueue.all_systems,
    "latency": lambda kafka, redis: latency.all_systems(kafka, redis, 20),
    "sleepers": lambda kafka, redis: throughput.sleepers(kafka, redis, 5000),
    "beat": _beat,
    "delays": lambda kafka, redis: timers.all_delays(kafka, redis, 20_000),
    "priorities": lambda kafka, redis: priorities.all_systems(kafka, 100_000, 100_000),
    "take-over": lambda kafka, redis: timers.take_over(kafka, 1_000_000),
    "growth": lambda kafka, redis: throughput.growth(kafka, [10_000, 100_000]),
    "long-growth": lambda kafka, redis: throughput.growth(kafka, [1_000_000, 10_000_000]),
    "peers": lambda kafka, redis: peers.all_systems(kafka, 20_000),
}

ON_REQUEST = frozenset({"long-growth", "peers"})
"""Measures that are taken only when they are named: one takes an hour, the other needs more servers and packages."""


def main() -> int:
    """Measure what the command line names; return the exit code."""
    wanted = _arguments()
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        kafka = stack.enter_context(servers.kafka())
        redis = None if wanted.without_peers else stack.enter_context(servers.redis())
        for number in range(wanted.runs):
            for name in wanted.only:
                for row in MEASURES[name](kafka, redis):
                    print(
                        f"run {number + 1}: {row.measure}: {row.system}: {row.value:,.4g} {row.figure}",
                        flush=True,
                    )
                    rows.append(row)
                _keep(rows, wanted.output)
    print(f"\n{wanted.output.with_suffix('.md')}:\n")
    print(wanted.output.with_suffix(".md").read_text())
    return 0


def _keep(rows: list[Row], output: Path) -> None:
    """Write what there is so far: a run takes long, and may be ended."""
    found, machine = medians(rows), description()
    document = {
        "machine": machine,
        "figures": [
            {
                "measure": each.measure,
                "system": each.system,
                "figure": each.figure,
                "median": each.value,
                "runs": list(each.values),
            }
            for each in found
        ],
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    output.with_suffix(".md").write_text(table(found, machine))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--without-peers", action="store_true", help="measure no Celery on Redis")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", help="where to")
    wanted = parser.parse_args()
    unknown = set(wanted.only) - set(MEASURES)
    if unknown:
        parser.error(
            f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}"
        )
    wanted.only = wanted.only or [name for name in MEASURES if name not in ON_REQUEST]
    if not wanted.without_peers and shutil.which("redis-server") is None:
        parser.error("no redis-server; `apt-get install redis-server`, or --without-peers")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
