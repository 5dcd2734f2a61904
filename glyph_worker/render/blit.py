"""Glyph pictures onto a page: the inner loop, compiled by numba where it is installed.

`blit` is the same function either way, to the last bit: tests/unit/test_render_blit.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

Blit = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], None]


def blit_numpy(
    page: np.ndarray,
    pictures: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    box: np.ndarray,
    coverage: np.ndarray,
    ink: int,
) -> None:
    """Blend pictures into `page`, in order, as Splash does: ((255 - a) * dst + a * ink) // 255.

    page uint8[height, width], changed in place; pictures int32[n], rows of `box`; xs, ys int32[n],
    pens in pixels; box int32[m, 5] and coverage uint8[…] as in glyphs.Pictures; ink 0–255.
    """
    height, width = page.shape
    offsets, rows, columns, lefts, tops = (box[pictures, i].astype(np.int64) for i in range(5))
    sizes = rows * columns
    # One entry for every pixel of every picture: which picture, which of its pixels.
    owner = np.repeat(np.arange(len(pictures)), sizes)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    row, column = np.divmod(within, np.maximum(columns, 1)[owner])
    y = (ys + tops)[owner] + row
    x = (xs + lefts)[owner] + column
    alpha = coverage[offsets[owner] + within]
    inside = (alpha > 0) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    where = (y * width + x)[inside]
    alpha = alpha[inside].astype(np.uint32)
    flat = page.reshape(-1)
    latest = np.empty(height * width, np.int32)
    # Where glyphs overlap the order counts: each round blends the first of those that remain.
    while len(where):
        order = np.arange(len(where), dtype=np.int32)
        latest[where[::-1]] = order[::-1]
        first = latest[where] == order
        a, spot = alpha[first], where[first]
        flat[spot] = ((255 - a) * flat[spot] + a * np.uint32(ink)) // 255
        rest = ~first
        where, alpha = where[rest], alpha[rest]


def _blit_loop(
    page: np.ndarray,
    pictures: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    box: np.ndarray,
    coverage: np.ndarray,
    ink: int,
) -> None:
    height, width = page.shape
    for index in range(len(pictures)):
        picture = pictures[index]
        at = box[picture, 0]
        rows = box[picture, 1]
        columns = box[picture, 2]
        left = xs[index] + box[picture, 3]
        top = ys[index] + box[picture, 4]
        for row in range(max(0, -top), min(rows, height - top)):
            for column in range(max(0, -left), min(columns, width - left)):
                a = int(coverage[at + row * columns + column])
                if a:
                    dst = int(page[top + row, left + column])
                    if dst == 255 and ink == 0:  # most of a page; saves the division
                        page[top + row, left + column] = 255 - a
                    else:
                        page[top + row, left + column] = ((255 - a) * dst + a * ink) // 255


@cache
def fastest() -> Blit:
    """The compiled loop where numba is installed, else the numpy one."""
    try:
        import numba
    except ImportError:
        return blit_numpy
    signature = (
        "void(uint8[:, ::1], int32[::1], int32[::1], int32[::1], int32[:, ::1], uint8[::1], int64)"
    )
    try:
        compiled: Blit = numba.njit(signature, cache=True, nogil=True)(_blit_loop)
    except RuntimeError:  # nowhere to keep the compiled code: compile for this process only
        compiled = numba.njit(signature, nogil=True)(_blit_loop)
    return compiled
