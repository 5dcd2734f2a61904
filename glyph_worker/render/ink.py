"""Placed lines to pixels, for `exact` and `flow`. Where lines go is decided before."""

from __future__ import annotations

import itertools

import numpy as np

from glyph_worker.render.blit import Blit, fastest
from glyph_worker.render.page import Block, LaidPage, Line
from glyph_worker.render.pdfnum import passed
from glyph_worker.render.style import Style
from glyph_worker.render.typeface import PHASES
from glyph_worker.render.typeset import Typesetter

_LUMA = (19595, 38470, 7471)
"""ITU-R 601 in 16 bits, as Pillow's convert("L")."""


class Ink:
    """Draws lines of one style."""

    def __init__(self, style: Style, setter: Typesetter) -> None:
        self.style = style
        self.glyphs = setter.glyphs
        self._left = setter.frame_left
        self.blit: Blit | None = None
        """For tests and benchmarks; by default the fastest, and all give the same pixels."""
        self._phased = self.glyphs.has_phases()
        self._indent = passed(style.left_indent)
        self._planes = _planes(style)
        self._space = int(self.glyphs.slots_of(" ")[0])

    def draw(self, laid: LaidPage, width: int, height: int) -> np.ndarray:
        """The lines of a page on `width` by `height` pixels, uint8[height, width]."""
        pictures, xs, ys, marked, counts = self._placed(laid)
        blit = self.blit or fastest()
        drawn: dict[tuple[int, ...], np.ndarray] = {}
        for colors in self._planes:
            if colors not in drawn:
                drawn[colors] = self._plane(
                    laid, width, height, colors, blit, (pictures, xs, ys, marked, counts)
                )
        red, green, blue = (drawn[colors] for colors in self._planes)
        if red is green is blue:
            return red
        luma = np.full((height, width), 0x8000, np.uint32)
        for weight, plane in zip(_LUMA, (red, green, blue), strict=True):
            luma += np.uint32(weight) * plane
        return (luma >> 16).astype(np.uint8)

    def edges(self, line: Line) -> np.ndarray:
        """Pixels from the page's left edge to the left of every character of `line.shown`, and of
        the pen after the last; float64[len(shown) + 1]."""
        advances = self._advances(line)
        pen = np.cumsum(np.concatenate([[line.left + self._indent], advances]))
        edges: np.ndarray = (pen + self._left) * self.style.scale
        return edges

    def _advances(self, line: Line) -> np.ndarray:
        slots = self.glyphs.slots_of(line.shown)  # first: a new character makes a new table
        advances: np.ndarray = self.glyphs.advance[slots]
        if line.word_space:
            advances = advances + (slots == self._space) * line.word_space
        return advances

    def _placed(
        self, laid: LaidPage
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of all glyphs of a page: pictures, pen columns and rows, marker; and glyphs per line."""
        shown = [line.shown for line in laid.lines]
        counts = np.array([len(text) for text in shown], np.int64)
        slots = self.glyphs.slots_of("".join(shown))
        steps = self.glyphs.advance[slots]
        if any(line.word_space for line in laid.lines):
            spaces = np.repeat([line.word_space for line in laid.lines], counts)
            steps = steps + (slots == self._space) * spaces
        pens = np.empty(len(slots), np.float64)
        at = 0
        for line, count in zip(laid.lines, counts.tolist(), strict=True):
            if count:
                pens[at] = line.left + self._indent
                pens[at + 1 : at + count] = steps[at : at + count - 1]
                own = pens[at : at + count]
                own.cumsum(out=own)  # one by one, as poppler moves its pen
                at += count
        across = pens * self.style.scale + self._left * self.style.scale
        columns = np.floor(across)
        phases = np.floor((across - columns) * PHASES).astype(np.int32)
        if not self._phased:
            phases[:] = 0
        rows = np.repeat(np.floor(np.array(laid.baselines)), counts)
        marked = np.zeros(len(slots), bool)
        for at, line in zip((np.cumsum(counts) - counts).tolist(), laid.lines, strict=True):
            for begin, end in line.marked:
                marked[at + begin : at + end] = True
        return (
            self.glyphs.pictures_of(slots, phases).astype(np.int32),
            columns.astype(np.int32),
            rows.astype(np.int32),
            marked,
            counts,
        )

    def _plane(
        self,
        laid: LaidPage,
        width: int,
        height: int,
        colors: tuple[int, ...],
        blit: Blit,
        placed: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    ) -> np.ndarray:
        """One colour channel of the page."""
        page_color, block_color, text_color, marker_color, border_color = colors
        pictures, xs, ys, marked, counts = placed
        ends = np.cumsum(counts)
        plane = np.full((height, width), page_color, np.uint8)
        scale = self.style.scale
        near = self._left + self.style.left_indent - self.style.border_padding
        far = self.style.page_size[0] - self._left - self.style.right_indent
        left = max(0, int(np.floor(near * scale + 0.5)))
        right = int(np.floor((far + self.style.border_padding) * scale + 0.5))
        store = self.glyphs.pictures
        for block in laid.blocks or (Block(0, 0, 0, len(laid.lines)),):
            plane[max(0, block.top) : max(0, block.bottom), left:right] = block_color
            if self.style.border_width and laid.blocks:
                self._border(plane, block, left, right, border_color)
            begin = int(ends[block.first - 1]) if block.first else 0
            end = int(ends[block.last - 1]) if block.last else 0
            for is_marker, run in _runs(marked[begin:end]):
                part = slice(begin + run.start, begin + run.stop)
                blit(
                    plane,
                    np.ascontiguousarray(pictures[part]),
                    np.ascontiguousarray(xs[part]),
                    np.ascontiguousarray(ys[part]),
                    store.box,
                    store.coverage,
                    marker_color if is_marker else text_color,
                )
        return plane

    def _border(self, plane: np.ndarray, block: Block, left: int, right: int, color: int) -> None:
        """A frame around a block, its lines centred on the block's edges."""
        thick = max(1, round(self.style.border_width * self.style.scale))
        outer = thick // 2
        top, bottom = max(0, block.top - outer), max(0, block.bottom - outer)
        near, far = max(0, left - outer), max(0, right - outer)
        plane[top : top + thick, near : far + thick] = color
        plane[bottom : bottom + thick, near : far + thick] = color
        plane[top : bottom + thick, near : near + thick] = color
        plane[top : bottom + thick, far : far + thick] = color


def _runs(marked: np.ndarray) -> list[tuple[bool, slice]]:
    """Stretches of equal values."""
    if not len(marked):
        return []
    if not marked.any():
        return [(False, slice(0, len(marked)))]
    cuts = [0, *(np.flatnonzero(np.diff(marked)) + 1).tolist(), len(marked)]
    return [(bool(marked[a]), slice(a, b)) for a, b in itertools.pairwise(cuts)]


def _planes(style: Style) -> tuple[tuple[int, ...], ...]:
    """Page, background, text, marker and border colour, for red, green and blue."""
    colors = (
        *(style.page_bg_color, style.para_bg_color, style.font_color),
        *(style.marker_color, style.para_border_color),
    )
    channels = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in colors]
    return tuple(zip(*channels, strict=True))
