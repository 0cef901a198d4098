"""The long form of the fault lab: `python -m tests.scenarios.faultlab --faults 300 --state FILE`.

It goes in rounds of 30 faults, each on a broker of its own. After each its report is written to the state file; started again with
the same file it goes on with the first round that is missing. Exit code 0: all faults done and nothing wrong; 1: something is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from tests.scenarios.lab.faults import BROKER_MIX, EVERYTHING_MIX, HARMLESS_MIX, WORKER_MIX, Fault
from tests.scenarios.lab.report import Report, add_up
from tests.scenarios.lab.rounds import Plan, run_round
from tests.support.kafka import Kafka

FAULTS_A_ROUND = 30
MIXES: Mapping[str, Mapping[Fault, int]] = {
    "workers": WORKER_MIX,
    "harmless": HARMLESS_MIX,
    "broker": BROKER_MIX,
    "everything": EVERYTHING_MIX,
}


def main() -> int:
    """Run what is missing; return the exit code."""
    wanted = _arguments()
    state: Path = wanted.state
    seed, reports = _read(state, wanted.seed)
    done = sum(sum(report.faults.values()) for report in reports)
    while done < wanted.faults:
        count = min(FAULTS_A_ROUND, wanted.faults - done)
        plan = Plan(MIXES[wanted.mix], count, seed + len(reports), wanted.protocol)
        report = _run(plan)
        print(report.lines(), flush=True)
        reports.append(report)
        done += count
        _write(state, seed, reports)
    total = add_up(reports)
    print("in all:", total.lines(), sep="\n")
    return 1 if total.problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=300, help="how many in all (300)")
    parser.add_argument("--state", type=Path, required=True, help="where reports are kept, JSON")
    parser.add_argument("--seed", type=int, help="of the first round, to repeat a run")
    parser.add_argument("--mix", choices=MIXES, default="everything", help="which faults")
    parser.add_argument("--protocol", default="auto", help="auto, consumer or classic")
    return parser.parse_args()


def _run(plan: Plan) -> Report:
    print(f"seed {plan.seed}: {plan.faults} faults", flush=True)
    with Kafka() as kafka, tempfile.TemporaryDirectory(prefix="faultlab-") as folder:
        return run_round(plan, kafka, Path(folder), lambda line: print(line, flush=True))


def _read(state: Path, seed: int | None) -> tuple[int, list[Report]]:
    """Return the first seed and the reports so far."""
    if not state.exists():
        return seed if seed is not None else random.SystemRandom().randrange(1_000_000), []
    stored = json.loads(state.read_text())
    return stored["seed"], [Report(**report) for report in stored["rounds"]]


def _write(state: Path, seed: int, reports: list[Report]) -> None:
    """Write the state in one step, so that an interruption leaves the old or the new one."""
    content = {
        "seed": seed,
        "total": asdict(add_up(reports)),
        "rounds": [asdict(report) for report in reports],
    }
    draft = state.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(state)


if __name__ == "__main__":
    sys.exit(main())
