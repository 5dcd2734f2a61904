"""Marks that stand for line ends, indentation and tabs where lines are run on. Pictures, no layout.

Faint bars rather than letters: a reader of letters takes them for paper, the eye and a vision tower
see them, and they spoil no neighbour, for they touch none. Chosen by ops/bench/density.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

LINE_END, ONE, FOUR, TAB = "\x01", "\x02", "\x03", "\x04"
"""A source line's end; one space and four of its indentation; a tab. Control characters, which no
normalised text has."""
MARKS = LINE_END + ONE + FOUR + TAB
ANY_MARK = re.compile(f"[{MARKS}]")
FONT = -1
"""The font number by which marks go among glyphs; the glyph is the mark's index in MARKS."""
GRAY = 225
"""Level of a mark in black ink on white paper."""


class Mark(NamedTuple):
    """One mark at a size; lengths in whole pixels."""

    coverage: np.ndarray
    """uint8[rows, columns]"""
    left: int
    top: int
    """From the pen and the baseline; negative is above."""
    advance: int


def picture(index: int, size: float) -> Mark:
    """The mark MARKS[index] for letters of `size` pixels to the em. Ticks hang from the top: on the
    base line they are dots to a reader of letters."""
    bar, gap = max(1, round(size * 0.2)), max(1, round(size * 0.1))
    high, middle, low = round(size * 0.8), round(size * 0.55), max(1, round(size * 0.2))
    rows, columns, top = {
        LINE_END: (high + low, bar, -high),
        ONE: (low, bar, -high),
        FOUR: (middle, bar, -high),
        TAB: (low, 2 * bar + gap, -middle),
    }[MARKS[index]]
    before = gap if MARKS[index] in (LINE_END, TAB) else 0
    coverage = np.full((rows, columns), 255 - GRAY, np.uint8)
    return Mark(coverage, before, top, before + columns + (0 if before else gap))
