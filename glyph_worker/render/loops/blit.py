"""The inner loops of drawing, compiled by numba where it is installed, else in numpy.

Either way the results are the same to the last bit: tests/unit/test_render_blit.py. Whoever has no
numba only waits longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from glyph_worker.render.loops.wrap_loop import wrap_loop

STEP = 8
"""Rows of pictures are padded to whole steps, so that a step can be copied at once."""
PHASES = 4
"""Glyphs are drawn at quarter pixels, as poppler's Splash does."""


@dataclass(frozen=True)
class Loops:
    """`blit` puts pictures onto a page, `place` finds pens; see blit_numpy and place_numpy. `wrap`
    breaks lines in bulk (wraploop); None: wrap.py does, paragraph by paragraph."""

    blit: Any
    place: Any
    wrap: Any


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


def _blit_loop(
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
    for index in range(len(pictures)):
        picture = pictures[index]
        at = box[picture, 0]
        rows = box[picture, 1]
        columns = box[picture, 2]
        left = xs[index] + box[picture, 3]
        top = ys[index] + box[picture, 4]
        stride = (columns + 7) // 8 * 8
        inside = top >= 0 and left >= 0 and top + rows <= height and left + columns <= width
        if inside and ink == 0:
            for row in range(rows):
                # Unsigned: numba then leaves out the check for negative indexes.
                to = np.uint64((top + row) * width + left)
                source = np.uint64(at + row * stride)
                for _ in range(stride // 8):
                    white = np.uint8(255)
                    for k in range(np.uint64(8)):
                        white &= flat[to + k]
                    if white == 255:  # most of a page: 255 - a, eight at once
                        for k in range(np.uint64(8)):
                            flat[to + k] = ~coverage[source + k]
                    else:
                        for k in range(np.uint64(8)):
                            a = np.uint32(coverage[source + k])
                            if a:
                                dst = np.uint32(flat[to + k])
                                flat[to + k] = (np.uint32(255) - a) * dst // np.uint32(255)
                    to += np.uint64(8)
                    source += np.uint64(8)
        else:
            for row in range(max(0, -top), min(rows, height - top)):
                for column in range(max(0, -left), min(columns, width - left)):
                    a = np.uint32(coverage[at + row * stride + column])
                    if a:
                        to = np.uint64((top + row) * width + left + column)
                        dst = np.uint32(flat[to])
                        value = (np.uint32(255) - a) * dst + a * np.uint32(ink)
                        flat[to] = value // np.uint32(255)


def place_numpy(
    steps: np.ndarray, counts: np.ndarray, lefts: np.ndarray, scale: float, origin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pen columns and quarter-pixel phases, int32[n] each.

    steps float64[n], points from a glyph's pen to the next; counts int64[num_lines], glyphs of each
    line; lefts float64[num_lines], points; a pen lies at pen * scale + origin pixels. Pens add up
    one by one in doubles, as poppler moves them.
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
    phases = np.floor((across - columns) * PHASES)
    return columns.astype(np.int32), phases.astype(np.int32)


def _place_loop(
    steps: np.ndarray, counts: np.ndarray, lefts: np.ndarray, scale: float, origin: float
) -> tuple[np.ndarray, np.ndarray]:
    columns = np.empty(len(steps), np.int32)
    phases = np.empty(len(steps), np.int32)
    at = 0
    for line in range(len(counts)):
        pen = lefts[line]
        for _ in range(counts[line]):
            across = pen * scale
            across = across + origin
            column = np.floor(across)
            columns[at] = np.int32(column)
            phases[at] = np.int32(np.floor((across - column) * 4.0))
            pen += steps[at]
            at += 1
    return columns, phases


NUMPY = Loops(blit_numpy, place_numpy, None)


@cache
def fastest() -> Loops:
    """The compiled loops where numba is installed, else the numpy ones."""
    try:
        import numba
    except ImportError:
        return NUMPY
    signatures = (
        "void(uint8[::1], int64, int64, int32[::1], int32[::1], int32[::1], int32[:, ::1],"
        " uint8[::1], int64)",
        "Tuple((int32[::1], int32[::1]))(float64[::1], int64[::1], float64[::1], float64, float64)",
        "Tuple((int32[:, ::1], float64[::1]))(uint8[::1], float64[::1], float64, float64, float64,"
        " float64)",
    )
    # No fastmath: a fused multiply-add would move pens by a rounding error.
    loops = (_blit_loop, _place_loop, wrap_loop)
    try:
        made = [
            numba.njit(signature, cache=True, nogil=True)(loop)
            for signature, loop in zip(signatures, loops, strict=True)
        ]
    except RuntimeError:  # nowhere to keep compiled code: compile for this process only
        made = [
            numba.njit(signature, nogil=True)(loop)
            for signature, loop in zip(signatures, loops, strict=True)
        ]
    return Loops(*made)
