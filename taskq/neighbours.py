"""What is in force in a namespace beside what one beat loads: other sources, and ids that two sources have. Pure."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from taskq.printing import counted
from taskq.scheduling.reconcile import Line, Offer
from taskq.scheduling.schedulelog import Shelf

_NAMED = 5
"""Ids that one line names."""

_FILE, _CODE = "file:", "code:"


def source_name(origin: str) -> str:
    """Return what people call an origin: a file's name, `code:MODULE`. `--source` takes it."""
    return origin.removeprefix(_FILE)


def origin_of(text: str, known: Collection[str]) -> str | None:
    """Return the origin that a person means: itself, a file's name or path, or a module's name; None where there is none."""
    file = text.replace("\\", "/").rpartition("/")[2]
    for origin in (text, f"{_FILE}{text}", f"{_CODE}{text}", f"{_FILE}{file}"):
        if origin in known:
            return origin
    return None


def unloaded(shelf: Shelf, origins: Collection[str]) -> Mapping[str, int]:
    """Return how many schedules of a namespace are in force of each origin that is not among those of a beat."""
    counts = Counter(definition.origin for definition in shelf.definitions().values())
    return {origin: counts[origin] for origin in sorted(counts) if origin not in origins}


def shared(offer: Offer, shelf: Shelf) -> Mapping[str, Sequence[str]]:
    """Return the ids of an offer that another origin has, too, and that are in force as that one has them, by origin."""
    found: dict[str, list[str]] = {}
    for entry in offer.entries:
        stored = shelf.schedules.get(entry.id)
        definition = None if stored is None else stored.definition
        if definition is None or definition.origin == offer.origin:
            continue
        if definition.origin in shelf.listing(entry.id):
            found.setdefault(definition.origin, []).append(entry.id)
    return found


def unloaded_line(namespace: str, counts: Mapping[str, int]) -> Line:
    """Return what to say of sources that a beat does not load; there is one at least."""
    parts = [
        f"{counted(count, 'schedule')} of {source_name(each)}" for each, count in counts.items()
    ]
    is_one = sum(counts.values()) == 1
    sources = " ".join(f"--source {source_name(origin)}" for origin in counts)
    return Line(
        logging.INFO,
        f"namespace {namespace}: {', '.join(parts)} {'is' if is_one else 'are'} in force, which this beat does not load; if no "
        f"other beat does, remove {'it' if is_one else 'them'}: taskq schedule remove {sources} --namespace {namespace}",
        {"event": "schedule.not_loaded", "namespace": namespace},
    )


def shared_lines(offer: Offer, found: Mapping[str, Sequence[str]]) -> Iterator[Line]:
    """Yield what to say of ids that are in force as another origin has them."""
    for origin, ids in found.items():
        named = ", ".join(repr(id) for id in ids[:_NAMED])
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        is_one = len(ids) == 1
        yield Line(
            logging.ERROR,
            f"namespace {offer.namespace}: the id{'' if is_one else 's'} {named}{more} of {offer.source} "
            f"{'is' if is_one else 'are'} also in {source_name(origin)}; the one that was loaded last counts, which is that of "
            f"{source_name(origin)}; give one of them another id, or one file another namespace",
            {"event": "schedule.shared", "namespace": offer.namespace},
        )
