"""Cuts the keys of decoding rows into pieces that fill the device evenly. Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from glyph_worker.model.attention import MAX_TILE

Ints = npt.NDArray[np.int32]

MAX_PIECES = 512
"""Capacity of one step, fixed for CUDA graphs."""
MAX_ENTRIES = 8_192
"""Capacity of all rows' lists of pieces."""
TARGET_PIECES = 264
"""Wanted pieces of one step: two programs per multiprocessor of an H200, for each of 2 KV heads."""
SHORTEST_PIECE = 128
"""Tokens; below this a piece's overhead outweighs its reading."""


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring rows that all see these ranges of pool places, whole."""

    first: int
    count: int
    extents: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class PieceTable:
    """What `Splits` holds, on the host."""

    pieces: Ints
    """[4, MAX_PIECES]: first row, number of rows, first place, end place."""
    row_starts: Ints
    """[num_rows + 1]."""
    row_pieces: Ints
    """[MAX_ENTRIES]."""
    tile: int


def cut_pieces(
    groups: Sequence[Group], num_rows: int, *, max_tile: int = MAX_TILE
) -> PieceTable | None:
    """Pieces for all groups, or None when they cannot be told in the fixed capacity.

    `max_tile` is what the device has room for, a power of two.
    """
    tile = 1
    largest = max((group.count for group in groups), default=1)
    while tile < min(max_tile, largest):
        tile *= 2
    lengths = [
        (end - start) * -(-group.count // tile) for group in groups for start, end in group.extents
    ]
    size = max(SHORTEST_PIECE, -(-sum(lengths) // TARGET_PIECES))
    size = -(-size // 64) * 64
    while True:
        rows = [
            (first, min(tile, group.first + group.count - first), start, min(start + size, end))
            for group in groups
            for low, end in group.extents
            for start in range(low, end, size)
            for first in range(group.first, group.first + group.count, tile)
        ]
        if len(rows) <= MAX_PIECES:
            break
        if size > max(lengths):
            return None  # too many scattered extents
        size *= 2
    pieces = np.zeros((4, MAX_PIECES), dtype=np.int32)
    if rows:
        pieces[:, : len(rows)] = np.array(rows, dtype=np.int32).T
    lists: list[list[int]] = [[] for _ in range(num_rows)]
    for number, (first, count, _, _) in enumerate(rows):
        for row in range(first, first + count):
            lists[row].append(number)
    row_starts = np.zeros(num_rows + 1, dtype=np.int32)
    np.cumsum([len(entries) for entries in lists], out=row_starts[1:])
    if row_starts[-1] > MAX_ENTRIES:
        return None
    row_pieces = np.zeros(MAX_ENTRIES, dtype=np.int32)
    row_pieces[: row_starts[-1]] = [number for entries in lists for number in entries]
    return PieceTable(pieces, row_starts, row_pieces, tile)
