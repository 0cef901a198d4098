"""The long form of the scenario with beats: `python -m tests.scenarios.beatlab --seconds 600`.

Three beats and more, 50 schedules of every second and ten of other kinds; kill -9, SIGSTOP for 15 s, an owner cut off from the
broker for 15 s, SIGTERM, starts, and restarts of the broker. Prints the faults as they come, and at the end one JSON document: the
longest lateness, and take-over times by kind.
Exit code 0: exactly one task for each schedule and instant; 1: not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.scenarios.lab.beats import run_beats
from tests.support.brokersettings import LINKS, Identity
from tests.support.kafka import Kafka


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long faults come (600)")
    parser.add_argument("--seed", type=int, help="to repeat a run")
    wanted = parser.parse_args()
    seed = wanted.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}", file=sys.stderr, flush=True)
    with (
        Kafka(identity=Identity(links=LINKS)) as kafka,
        tempfile.TemporaryDirectory(prefix="beatlab-") as folder,
        contextlib.redirect_stdout(sys.stderr),
    ):
        report = run_beats(
            seed,
            wanted.seconds,
            kafka,
            Path(folder),
            lambda line: print(line, file=sys.stderr, flush=True),
            gap=(17.0, 27.0),
        )
    print(json.dumps(asdict(report), indent=2))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
