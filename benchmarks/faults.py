"""`python -m benchmarks.faults`: kill, freeze, cut off and move workers and brokers under load, and count what ran.

Some minutes as it is. The long form, which goes on where it was ended: `--nodes 3 --faults 300 --state FILE`. It goes in rounds of
30 faults, each on brokers of its own; after each of them all is kept. At last an owner of timers is frozen in the middle of
transactions, and it is measured how long plain tasks stand still behind it. Exit code 0: what is promised holds; 1: it does not;
2: wrong arguments.

The lab itself is in tests/scenarios/lab.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faultpage import document, page
from benchmarks.machine import description
from tests.scenarios.lab.faults import (
    BROKER_MIX,
    CLUSTER_BROKER_MIX,
    CLUSTER_MIX,
    EVERYTHING_MIX,
    HARMLESS_MIX,
    WORKER_MIX,
    Fault,
)
from tests.scenarios.lab.freezes import Freeze, measure_freeze
from tests.scenarios.lab.report import Report, add_up
from tests.scenarios.lab.rounds import Plan, run_round
from tests.support.brokersettings import LINKS
from tests.support.cluster import KafkaCluster

RESULTS = Path(__file__).parent / "results" / "faults.json"
MACHINE = ("processor", "cores", "system", "python", "kafka", "taskq-kafka", "confluent-kafka")
"""Of what the machine is described by, what matters here."""

FAULTS_A_ROUND = 30

Mix = Mapping[Fault, int]
MIXES: Mapping[int, Mapping[str, Mix]] = {
    1: {
        "everything": EVERYTHING_MIX,
        "workers": WORKER_MIX,
        "harmless": HARMLESS_MIX,
        "broker": BROKER_MIX,
    },
    3: {
        "everything": CLUSTER_MIX,
        "workers": WORKER_MIX,
        "harmless": HARMLESS_MIX,
        "broker": CLUSTER_BROKER_MIX,
    },
}
"""By the number of brokers."""


@dataclass
class Lab:
    """What is run, and what has come of it so far: what stands in the state file."""

    nodes: int
    mix: str
    protocol: str
    seed: int
    """Of the first round; each further one has the next."""

    rounds: list[Report] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)

    @property
    def total(self) -> Report:
        """All rounds together."""
        return add_up(self.rounds)

    @property
    def faults(self) -> int:
        """How many have been done."""
        return sum(self.total.faults.values())


def main() -> int:
    """Run what is missing; return the exit code."""
    parser = _parser()
    wanted = parser.parse_args()
    try:
        lab = _read(wanted)
    except ValueError as error:
        parser.error(str(error))
    while lab.faults < wanted.faults:
        report = _run_round(lab, min(FAULTS_A_ROUND, wanted.faults - lab.faults))
        if not report.faults:  # for ever, then
            return 1
        lab.rounds.append(report)
        _keep(lab, wanted)
    try:
        _run_freezes(lab, wanted)
    except TimeoutError as error:
        print(f"PROBLEM: frozen owner of timers: {error}", flush=True)
        return 1
    print(f"\n{wanted.output.with_suffix('.md')}:\n")
    print(wanted.output.with_suffix(".md").read_text())
    return 1 if lab.total.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--nodes", type=int, choices=MIXES, default=1, help="brokers (1)")
    parser.add_argument("--faults", type=_count, default=FAULTS_A_ROUND, help="in all (30)")
    parser.add_argument("--freezes", type=_count, default=3, help="with an heir, and alone (3)")
    parser.add_argument("--state", type=Path, help="a file, to go on with what it has")
    parser.add_argument("--seed", type=int, help="of the first round, to repeat a run")
    parser.add_argument("--mix", choices=MIXES[1], default="everything", help="which faults")
    parser.add_argument("--protocol", choices=("auto", "consumer", "classic"), default="auto")
    parser.add_argument("--output", type=Path, default=RESULTS, help=f"figures ({RESULTS.name})")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


# -- running ----------------------------------------------------------------------------------------------------------


def _run_round(lab: Lab, faults: int) -> Report:
    plan = Plan(MIXES[lab.nodes][lab.mix], faults, lab.seed + len(lab.rounds), lab.protocol)
    _say(f"seed {plan.seed}: {plan.faults} faults, brokers: {lab.nodes}")
    folder = Path(tempfile.mkdtemp(prefix="faultlab-"))
    # What the processes printed is for those who look for the cause of something.
    cluster = KafkaCluster(size=lab.nodes, links=LINKS)
    with cluster, contextlib.redirect_stdout(io.StringIO()):
        report = run_round(plan, cluster, folder, _say)
    _say(report.lines())
    if report.problems:
        _say(f"what the processes wrote and printed is kept in {folder}")
    else:
        shutil.rmtree(folder)
    return report


def _run_freezes(lab: Lab, wanted: argparse.Namespace) -> None:
    if len(lab.freezes) >= 2 * wanted.freezes:
        return
    with (
        KafkaCluster(size=lab.nodes) as cluster,
        tempfile.TemporaryDirectory(prefix="faultlab-") as folder,
    ):
        while (number := len(lab.freezes)) < 2 * wanted.freezes:
            with contextlib.redirect_stdout(io.StringIO()):
                found = measure_freeze(
                    cluster, Path(folder) / str(number), number, has_heir=number % 2 == 0, say=_say
                )
            lab.freezes.append(found)
            _keep(lab, wanted)


def _say(line: str) -> None:
    print(line, file=sys.__stdout__, flush=True)


# -- keeping ----------------------------------------------------------------------------------------------------------


def _read(wanted: argparse.Namespace) -> Lab:
    """Return what the state file has, or a lab that has done nothing.

    Raises:
        ValueError: The state is of another lab than is wanted.
    """
    if wanted.state is None or not wanted.state.exists():
        seed = random.SystemRandom().randrange(1_000_000) if wanted.seed is None else wanted.seed
        return Lab(wanted.nodes, wanted.mix, wanted.protocol, seed)
    stored = json.loads(wanted.state.read_text())
    rounds = [Report(**report) for report in stored.pop("rounds")]
    freezes = [Freeze(**freeze) for freeze in stored.pop("freezes")]
    lab = Lab(**stored, rounds=rounds, freezes=freezes)
    for name in ("nodes", "mix", "protocol"):
        if getattr(lab, name) != getattr(wanted, name):
            raise ValueError(
                f"{wanted.state} is of a lab with --{name} {getattr(lab, name)}, "
                f"not {getattr(wanted, name)}: give that, or another file"
            )
    if wanted.seed not in (None, lab.seed):
        raise ValueError(f"{wanted.state} began with --seed {lab.seed}: give that, or another file")
    return lab


def _keep(lab: Lab, wanted: argparse.Namespace) -> None:
    """Write state and figures. The figures of other numbers of brokers stay as they are."""
    if wanted.state is not None:
        _write(wanted.state, asdict(lab))
    output: Path = wanted.output
    labs = json.loads(output.read_text())["labs"] if output.exists() else []
    labs = [each for each in labs if each["nodes"] != lab.nodes]
    labs.append(document(lab.nodes, lab.total, lab.freezes))
    labs.sort(key=lambda each: int(each["nodes"]))
    machine = {name: text for name, text in description().items() if name in MACHINE}
    output.parent.mkdir(parents=True, exist_ok=True)
    _write(output, {"machine": machine, "labs": labs})
    output.with_suffix(".md").write_text(page(labs, machine))


def _write(path: Path, content: Any) -> None:
    """Write a file in one step, so that an interruption leaves the old or the new one."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
