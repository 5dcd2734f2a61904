"""Drawn lines of a whole block of plain text at once, from the compiled loop's rows. No fonts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

import numpy as np

from glyph_worker.render.fonts.reference_numbers import as_poppler_reads
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.spelling import glued

TOUCH = 1e-8
"""Points; a line that is this much too long is squeezed."""


class SetLine(NamedTuple):
    """The lines of one source line, and how each came out."""

    lines: list[Line]
    """At the left margin, squeezed where they run over."""
    extras: Sequence[float]
    """Points left on each line; negative where it runs over."""
    num_words: Sequence[int]


class Bulk:
    """The lines of those source lines of a block that need no spelling and no shaping."""

    def __init__(self, block: str, offset: int, places: np.ndarray, extras: np.ndarray) -> None:
        """block starts at `offset` and, but for the text's last, ends before a line end; places
        int32[n, 4] and extras float64[n] as wrap_loop gives them."""
        sources, begins, stops, words = places.T
        opens = np.diff(sources, prepend=-1) != 0
        closes = np.append(opens[1:], True)[: len(opens)]
        starts = np.where(opens, sources, begins)
        line_ends = np.flatnonzero(np.frombuffer(block.encode("utf-32-le"), np.uint32) == 0x0A)
        line_ends = np.append(line_ends, len(block))
        ends = np.append(starts[1:], 0)[: len(starts)]
        ends[closes] = line_ends[np.searchsorted(line_ends, stops[closes])] + 1
        shown = glued(block)
        drawn = [shown[a:b] for a, b in zip(begins.tolist(), stops.tolist(), strict=True)]
        self._extras, self._words = extras.tolist(), words.tolist()
        offsets: list[Sequence[int] | None] = [None] * len(drawn)
        for at in np.flatnonzero(begins != starts).tolist():  # spaces stripped before the line
            offsets[at] = range(offset + int(begins[at]), offset + int(stops[at]))
        for at in np.flatnonzero(words == 0).tolist():
            offsets[at] = range(0)
        squeezes = [0.0] * len(drawn)
        for at in np.flatnonzero(extras <= -TOUCH).tolist():
            spaces = drawn[at].count("\u00a0") + self._words[at] - 1
            if spaces > 0:
                squeezes[at] = as_poppler_reads(self._extras[at] / spaces)
        rows = zip(
            *((starts + offset).tolist(), (ends + offset).tolist(), drawn, closes.tolist()),
            *(offsets, repeat(True), repeat(0.0), squeezes),
            *(repeat(()), repeat(False), repeat(b""), repeat(()), repeat(False)),
            strict=False,
        )
        self._lines = list(map(tuple.__new__, repeat(Line), rows))  # skips Line's slow constructor
        firsts, lasts = np.flatnonzero(opens), np.flatnonzero(closes) + 1
        self._rows_of = dict(
            zip(
                (sources[firsts] + offset).tolist(),
                zip(firsts.tolist(), lasts.tolist(), range(len(firsts)), strict=True),
                strict=True,
            )
        )

    def run(self, start: int) -> SetLine | None:
        """What the source line at `start` gives; None where it is not plain."""
        rows = self._rows_of.get(start)
        if rows is None:
            return None
        own = slice(*rows[:2])
        return SetLine(self._lines[own], self._extras[own], self._words[own])

    def lines(self, first: int, last: int, count: int) -> list[Line] | None:
        """The lines of `count` source lines, from that at `first` to that at `last`; None where
        one of them is not plain."""
        head, tail = self._rows_of.get(first), self._rows_of.get(last)
        if head is None or tail is None or tail[2] - head[2] != count - 1:
            return None
        return self._lines[head[0] : tail[1]]
