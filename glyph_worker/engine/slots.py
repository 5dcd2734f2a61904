"""Which sequence owns which slot of the running batch. Accounting only: no tensors."""

from __future__ import annotations

import heapq


class Slots:
    """`num_slots` places, the lowest free one first, so that a small batch stays compact."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self._free = list(range(num_slots))
        self._owners: dict[int, str] = {}

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return len(self._owners)

    def take(self, sequence_id: str) -> int | None:
        """A slot for a sequence, or None when all are taken."""
        if not self._free:
            return None
        slot = heapq.heappop(self._free)
        self._owners[slot] = sequence_id
        return slot

    def give_back(self, slot: int) -> None:
        del self._owners[slot]
        heapq.heappush(self._free, slot)
