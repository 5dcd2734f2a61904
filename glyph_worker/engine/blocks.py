"""Which blocks of the KV pool are free. Accounting only: no tensors.

Blocks are handed out as runs of neighbours, longest possible first: a document whose keys lie in
one run is read without gathering. A fragmented pool costs speed, never capacity.
"""

from __future__ import annotations

from bisect import bisect_left

BlockRange = tuple[int, int]
"""(first block, number of blocks)."""


class BlockPool:
    """Free runs of `num_blocks` blocks, sorted, never touching one another."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.num_free = num_blocks
        self._free: list[BlockRange] = [(0, num_blocks)] if num_blocks else []

    @property
    def free_runs(self) -> tuple[BlockRange, ...]:
        return tuple(self._free)

    def allocate(self, count: int) -> tuple[BlockRange, ...] | None:
        """`count` blocks as few runs as possible, or None (and no change) when there are fewer."""
        if count > self.num_free:
            return None
        if count == 0:
            return ()
        fits = [run for run in self._free if run[1] >= count]
        if fits:  # the tightest fit keeps long runs for long documents
            return (self._take(min(fits, key=lambda run: (run[1], run[0])), count),)
        runs: list[BlockRange] = []
        for run in sorted(self._free, key=lambda run: (-run[1], run[0])):
            taken = self._take(run, min(run[1], count))
            runs.append(taken)
            count -= taken[1]
            if count == 0:
                break
        return tuple(runs)

    def _take(self, run: BlockRange, count: int) -> BlockRange:
        index = bisect_left(self._free, run)
        if run[1] == count:
            del self._free[index]
        else:
            self._free[index] = (run[0] + count, run[1] - count)
        self.num_free -= count
        return (run[0], count)

    def release(self, runs: tuple[BlockRange, ...]) -> None:
        """Give runs back; neighbours grow together."""
        for start, count in runs:
            if count == 0:
                continue
            index = bisect_left(self._free, (start, 0))
            before = self._free[index - 1] if index else None
            after = self._free[index] if index < len(self._free) else None
            assert before is None or before[0] + before[1] <= start, "block released twice"
            assert after is None or start + count <= after[0], "block released twice"
            self.num_free += count
            if after is not None and start + count == after[0]:
                count += after[1]
                del self._free[index]
            if before is not None and before[0] + before[1] == start:
                self._free[index - 1] = (before[0], before[1] + count)
            else:
                self._free.insert(index, (start, count))


def split_runs(runs: tuple[BlockRange, ...], sizes: list[int]) -> list[tuple[BlockRange, ...]]:
    """Cut runs, in order, into consecutive parts of `sizes` blocks."""
    parts: list[tuple[BlockRange, ...]] = []
    left = list(runs)
    for size in sizes:
        part: list[BlockRange] = []
        while size:
            start, count = left[0]
            taken = min(size, count)
            part.append((start, taken))
            size -= taken
            if taken == count:
                left.pop(0)
            else:
                left[0] = (start + taken, count - taken)
        parts.append(tuple(part))
    return parts
