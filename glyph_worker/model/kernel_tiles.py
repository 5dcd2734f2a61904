"""How many rows a piece of the attention kernel may have, by a device's shared memory. Arithmetic
only: nothing here needs Triton."""

from __future__ import annotations

from dataclasses import dataclass

from glyph_worker.model.attention import MAX_TILE


@dataclass(frozen=True, slots=True)
class PieceLoop:
    """How a piece's keys are gone through."""

    keys: int
    """Of one turn of the loop."""
    stages: int


def piece_loop(itemsize: int) -> PieceLoop:
    """By the keys' bytes per number: float32 ones have half the room."""
    return PieceLoop(64, 3) if itemsize == 2 else PieceLoop(32, 2)


def piece_bytes(tile: int, group: int, dim: int, itemsize: int) -> int:
    """Shared memory of one program of the piece kernel, at most.

    16-bit queries and weights stay in registers; float32 ones do not.
    """
    loop, lines = piece_loop(itemsize), max(16, 1 << (tile * group - 1).bit_length())
    held = lines * (dim + loop.keys) * itemsize if itemsize == 4 else 0
    return int(2 * (loop.stages - 1) * loop.keys * dim * itemsize + held + 8 * lines)


def largest_tile(shared_bytes: int, *, group: int, dim: int, itemsize: int) -> int:
    """Most rows a piece may have on a device that gives a program so much shared memory; 0: none.

    Of a device it is `shared_memory_per_block_optin`: 163 KiB on sm_80, 99 on sm_89, 227 on sm_90.
    """
    tile = MAX_TILE
    while tile and piece_bytes(tile, group, dim, itemsize) > shared_bytes:
        tile //= 2
    return tile
