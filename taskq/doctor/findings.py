"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    """Works; somebody may want it otherwise, or it could not be seen."""

    PROBLEM = "problem"
    """A promise of taskq does not hold, or tasks do not run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding, in words."""

    level: Level
    subject: str
    """What was looked at: `broker`, `topic billing`."""

    finding: str
    """What is."""

    meaning: str = ""
    """What follows from it."""

    advice: str = ""
    """What to do."""


def ok(subject: str, finding: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(Level.OK, subject, finding)


def note(subject: str, finding: str, meaning: str, advice: str = "") -> Finding:
    """Return that something is to be known."""
    return Finding(Level.NOTE, subject, finding, meaning, advice)


def problem(subject: str, finding: str, meaning: str, advice: str) -> Finding:
    """Return that something is wrong."""
    return Finding(Level.PROBLEM, subject, finding, meaning, advice)


def softened(finding: Finding) -> Finding:
    """Return a finding about what may not be taskq's at all: then it is no problem."""
    if finding.level is not Level.PROBLEM:
        return finding
    meaning = f"If it is a queue of taskq's: {finding.meaning[:1].lower()}{finding.meaning[1:]}"
    return replace(finding, level=Level.NOTE, meaning=meaning)
