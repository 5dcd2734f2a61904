"""The inner loops of drawing, compiled by numba where it is installed, else in numpy.

Either way the results are the same to the last bit: tests/unit/test_render_blit.py. Whoever has no
numba only waits longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from glyph_worker.render.loops.char_loop import char_loop
from glyph_worker.render.loops.wrap_loop import wrap_loop

STEP = 8
"""Rows of pictures are padded to whole steps, so that a step can be copied at once."""
PHASES = 4
"""Glyphs are drawn at quarter pixels, as poppler's Splash does."""
_STRIP = 48
"""Columns looked at together for the last ink."""


@dataclass(frozen=True)
class Loops:
    """`blit` puts pictures onto a page, `step` and `place` find pens, `last_column` where the ink
    ends; see blit_numpy and its neighbours. `wrap` breaks lines of words in bulk (wrap_loop); None:
    wrap.py does, paragraph by paragraph. `chars` breaks lines of characters (char_loop)."""

    blit: Any
    step: Any
    place: Any
    last_column: Any
    wrap: Any
    chars: Any


def blit_numpy(
    flat: np.ndarray,
    height: int,
    width: int,
    pictures: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    box: np.ndarray,
    coverage: np.ndarray,
    ink: int,
) -> None:
    """Blend pictures into a page, in order, as Splash does: ((255 - a) * dst + a * ink) // 255.

    flat uint8[height * width + STEP], the page's rows and some slack, changed in place; pictures
    int32[n], rows of `box`; xs, ys int32[n], pens in pixels; box int32[m, 5] and coverage uint8[…]
    as in glyphs.Pictures; ink 0-255.
    """
    offsets, rows, columns, lefts, tops = (box[pictures, i].astype(np.int64) for i in range(5))
    strides = (columns + STEP - 1) // STEP * STEP
    sizes = rows * strides
    # One entry for every pixel of every picture: which picture, which of its pixels.
    owner = np.repeat(np.arange(len(pictures)), sizes)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    alpha = coverage[offsets[owner] + within]
    seen = np.flatnonzero(alpha)
    owner, within, alpha = owner[seen], within[seen], alpha[seen].astype(np.uint32)
    row, column = np.divmod(within, strides[owner])
    y = (ys + tops)[owner] + row
    x = (xs + lefts)[owner] + column
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    where, alpha = (y * width + x)[inside], alpha[inside]
    latest = np.empty(height * width, np.int32)
    # Where glyphs overlap the order counts: each round blends the first of those that remain.
    while len(where):
        order = np.arange(len(where), dtype=np.int32)
        latest[where[::-1]] = order[::-1]
        first = latest[where] == order
        a, spot = alpha[first], where[first]
        flat[spot] = ((255 - a) * flat[spot] + a * np.uint32(ink)) // 255
        where, alpha = where[~first], alpha[~first]


def step_numpy(
    codes: np.ndarray,
    slot_of: np.ndarray,
    advance: np.ndarray,
    counts: np.ndarray,
    spaces: np.ndarray,
    space: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Slots int32[n] of characters, and steps float64[n] from each pen to the next, points.

    codes uint32[n], code points; slot_of int32[0x110000], -1 where there is no slot yet; advance
    float64[num_slots], points; counts int64[num_lines], characters of each line; spaces
    float64[num_lines], points added to every space, whose slot is `space`. A step of a character
    without a slot means nothing.
    """
    slots: np.ndarray = slot_of[codes]
    steps = advance[np.maximum(slots, 0)]
    if spaces.any():
        steps += (slots == space) * np.repeat(spaces, counts)
    return slots, steps


def place_numpy(
    slots: np.ndarray,
    steps: np.ndarray,
    counts: np.ndarray,
    lefts: np.ndarray,
    rows: np.ndarray,
    scale: float,
    origin: float,
    phases: int,
    picture_of: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, pen columns, pen rows and keys, int32[n] each; a picture is -1 until it is drawn.

    slots and steps as step_numpy gives them; counts int64[num_lines], glyphs of each line; lefts
    float64[num_lines], points; rows int32[num_lines], pixels; a pen lies at pen * scale + origin
    pixels. Pens add up one by one in doubles, as poppler moves them. phases: PHASES, or 1 where
    glyphs sit on whole pixels. A key is slot * PHASES + phase, an index into picture_of.
    """
    pens = np.empty(len(steps), np.float64)
    at = 0
    for count, left in zip(counts.tolist(), lefts.tolist(), strict=True):
        if count:
            pens[at] = left
            pens[at + 1 : at + count] = steps[at : at + count - 1]
            own = pens[at : at + count]
            own.cumsum(out=own)
            at += count
    across = pens * scale + origin
    columns = np.floor(across)
    keys = slots * np.int32(PHASES)
    if phases > 1:
        keys += np.floor((across - columns) * PHASES).astype(np.int32)
    return picture_of[keys], columns.astype(np.int32), np.repeat(rows, counts), keys


def last_column_numpy(page: np.ndarray, level: int) -> int:
    """The last column of a page, uint8[height, width], with a pixel darker than `level`; -1: none.

    Strips from behind: ink is seldom far.
    """
    for stop in range(page.shape[1], 0, -_STRIP):
        part = page[:, max(0, stop - _STRIP) : stop].min(axis=0)
        inked = np.flatnonzero(part < level)
        if len(inked):
            return stop - len(part) + int(inked[-1])
    return -1


NUMPY = Loops(blit_numpy, step_numpy, place_numpy, last_column_numpy, None, char_loop)


@cache
def fastest() -> Loops:
    """The compiled loops where numba is installed, else the numpy ones."""
    try:
        import numba

        from glyph_worker.render.loops import compiled
    except ImportError:
        return NUMPY
    made: list[Any] = []
    # No fastmath: a fused multiply-add would move pens by a rounding error.
    for loop, signature in (
        (
            compiled.blit_loop,
            "void(uint8[::1], int64, int64, int32[::1], int32[::1], int32[::1], int32[:, ::1],"
            " uint8[::1], int64)",
        ),
        (
            compiled.step_loop,
            "Tuple((int32[::1], float64[::1]))(Array(uint32, 1, 'C', readonly=True), int32[::1],"
            " float64[::1], int64[::1], float64[::1], int64)",
        ),
        (
            compiled.place_loop,
            "Tuple((int32[::1], int32[::1], int32[::1], int32[::1]))(int32[::1], float64[::1],"
            " int64[::1], float64[::1], int32[::1], float64, float64, int64, int32[::1])",
        ),
        (compiled.last_column_loop, "int64(Array(uint8, 2, 'C', readonly=True), int64)"),
        (
            wrap_loop,
            "Tuple((int32[:, ::1], float64[::1]))(uint8[::1], float64[::1], float64, float64,"
            " float64, float64, float64)",
        ),
        (
            char_loop,
            "Tuple((int32[:, ::1], float64[::1]))(uint8[::1], float64[::1], int64[::1], int64[::1],"
            " float64, float64, boolean)",
        ),
    ):
        try:
            made.append(numba.njit(signature, cache=True, nogil=True)(loop))
        except RuntimeError:  # nowhere to keep compiled code: compile for this process only
            made.append(numba.njit(signature, nogil=True)(loop))
    return Loops(*made)
