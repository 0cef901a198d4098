"""Leases: who owns a partition of a log, written where only its owner may write: in the metadata of the group's commits.

A commit is taken from a member of the group alone, so whoever was expelled can take no lease any more. It names the owner's
transactional id, by which its heir shuts it out: docs/decisions/0017-one-producer-an-owner.md. Pure text; committing is in
shardmember.py.
"""

from __future__ import annotations

from typing import Final

RELEASED: Final = ""
"""What an owner leaves that has nothing under way and will write no more: its heir has nobody to shut out."""

_FORMAT: Final = "2"
"""With the first, an owner had one client: who reads only that would shut out one of two."""

_READ: Final = frozenset({"1", _FORMAT})


class NewerLease(Exception):
    """A lease of a newer version: what it would take to be the owner's heir is not known here."""


def lease_of(owner: str) -> str:
    """Return the lease of an owner, by its transactional id."""
    return f"{_FORMAT}:{owner}"


def owner_in(metadata: str | None) -> str | None:
    """Return the transactional id of a lease's owner; None where there is none: never taken, expired, or released.

    Raises:
        NewerLease: It is of a newer version.
    """
    text = (metadata or "").rstrip("\0")
    if not text:
        return None
    version, _, owner = text.partition(":")
    if version not in _READ or not owner:
        raise NewerLease(text)
    return owner
