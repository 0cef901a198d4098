"""What a person's removal of schedules writes, beside what loads write. Pure.

A removal is what a load does with ids that its source has no more: the definitions go, and the owner of each takes out what is left
of it. The ids go off the manifests as well, so that a beat whose file has one of them still notices, and brings it back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from taskq.scheduling.schedulelog import Part, Shelf, manifest_write, write_of
from taskq.timing.shards import Write


@dataclass(frozen=True, slots=True)
class Removal:
    """What is removed of one namespace, and what has to be written for it."""

    namespace: str
    ids: tuple[str, ...]
    """Sorted."""

    writes: Sequence[Write]
    listing: tuple[str, ...]
    """The origins whose manifests list one of them: where a beat runs that has one, it brings them back."""

    @property
    def names(self) -> list[str]:
        """The schedules' names, `NAMESPACE/ID`."""
        return [f"{self.namespace}/{id}" for id in self.ids]


def removal_of_ids(shelf: Shelf, ids: Collection[str]) -> Removal:
    """Return the removal of single schedules."""
    listing = {origin for id in ids for origin in shelf.listing(id)}
    writes = _definitions(shelf, ids)
    for origin in sorted(listing):
        without = shelf.manifests[origin].without(ids)
        writes.append(manifest_write(shelf.namespace, origin, without))
    return Removal(shelf.namespace, tuple(sorted(ids)), writes, tuple(sorted(listing)))


def removal_of_origin(shelf: Shelf, origin: str) -> Removal:
    """Return the removal of all that is in force of an origin, and of its manifest."""
    ids = [id for id, each in shelf.definitions().items() if each.origin == origin]
    writes = _definitions(shelf, ids)
    listing = (origin,) if origin in shelf.manifests else ()
    if listing:
        writes.append(manifest_write(shelf.namespace, origin, None))
    return Removal(shelf.namespace, tuple(ids), writes, listing)


def origins(shelf: Shelf) -> set[str]:
    """Return all origins of a namespace, also such that only a manifest names."""
    return {*shelf.manifests, *(each.origin for each in shelf.definitions().values())}


def _definitions(shelf: Shelf, ids: Collection[str]) -> list[Write]:
    return [write_of(f"{shelf.namespace}/{id}", Part.DEFINITION, None) for id in sorted(ids)]
