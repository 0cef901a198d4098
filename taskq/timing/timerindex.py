"""Which timers of a partition wait, by the hash of their task's id: to end one, and to cancel all of a task's. Pure.

A timer is an int that ends in two hashes, of the task's id and of its key; what stands above them is the caller's. A million may
wait, nearly each the only one of its task: it costs its place in a dict. A task with several has a dict of them, so that thousands
under one id cost no more than thousands under as many ids.
"""

from __future__ import annotations

from collections.abc import Collection

Entry = int

ID_BITS = KEY_BITS = 60
"""Of the hashes at the end of an entry, the id's before the other. Python's hashes have hardly more."""

HASH_BITS = ID_BITS + KEY_BITS
_ID = (1 << ID_BITS) - 1
_KEY = (1 << KEY_BITS) - 1


class TimerIndex:
    """The entries that wait; two never have both hashes in common."""

    def __init__(self) -> None:
        """Begin with none."""
        self._by_id: dict[int, Entry | dict[int, Entry]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, entry: Entry) -> bool:
        return self.get(entry >> KEY_BITS & _ID, entry & _KEY) == entry

    def get(self, id_hash: int, key_hash: int) -> Entry | None:
        """Return the entry with these hashes."""
        found = self._by_id.get(id_hash)
        if found is None:
            return None
        if isinstance(found, dict):
            return found.get(key_hash)
        return found if found & _KEY == key_hash else None

    def of(self, id_hash: int) -> Collection[Entry]:
        """Return all entries with this hash of the id, as they stand now."""
        found = self._by_id.get(id_hash)
        if found is None:
            return ()
        return tuple(found.values()) if isinstance(found, dict) else (found,)

    def add(self, entry: Entry) -> None:
        """Enter one; there must be none with its hashes."""
        found = self._by_id.setdefault(entry >> KEY_BITS & _ID, entry)
        if isinstance(found, dict):
            found[entry & _KEY] = entry
        elif found is not entry:
            several = {found & _KEY: found, entry & _KEY: entry}
            self._by_id[entry >> KEY_BITS & _ID] = several
        self._count += 1

    def remove(self, entry: Entry) -> None:
        """Take one out that is there."""
        id_hash = entry >> KEY_BITS & _ID
        found = self._by_id[id_hash]
        if isinstance(found, dict):
            del found[entry & _KEY]
        if not isinstance(found, dict) or not found:
            del self._by_id[id_hash]
        self._count -= 1
