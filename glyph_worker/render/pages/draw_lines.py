"""Placed lines to pixels, for `exact` and `flow`. Where lines go is decided before."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from glyph_worker.render.fonts.cell_width import num_cells
from glyph_worker.render.fonts.reference_numbers import as_poppler_reads
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.typeset import Typesetter
from glyph_worker.render.loops.blit import NUMPY, PHASES, STEP, Loops, fastest
from glyph_worker.render.pages.page import Block, LaidPage
from glyph_worker.render.style.style import Style

_PLAIN = itemgetter(Line._fields.index("plain"))
_DRAWN = tuple(map(Line._fields.index, ("shown", "left", "word_space", "stops", "mono")))
_LUMA = (19595, 38470, 7471)
"""ITU-R 601 in 16 bits, as Pillow's convert("L")."""


class Placed(NamedTuple):
    """All glyphs of a page, in drawing order."""

    pictures: np.ndarray
    """int32[n], rows of Pictures.box"""
    xs: np.ndarray
    """int32[n], pen columns"""
    ys: np.ndarray
    """int32[n], pen rows"""
    marked: np.ndarray | None
    """bool[n], in the marker's colour; None: nothing is"""
    ends: np.ndarray
    """int64[num_lines], where each line's glyphs end"""


class Ink:
    """Draws lines of one style."""

    def __init__(self, style: Style, setter: Typesetter) -> None:
        self.style = style
        self.glyphs = setter.glyphs
        self.loops: Loops | None = None
        """For tests and benchmarks; by default the fastest, and all give the same pixels."""
        self._shaper = setter.shaper
        self._left = setter.frame_left
        self._indent = as_poppler_reads(style.left_indent)
        self._phased = self.glyphs.has_phases()
        self._planes = _planes(style)
        self._space = int(self.glyphs.slots_of(" ")[0])

    def draw(self, laid: LaidPage, width: int, height: int) -> np.ndarray:
        """The lines of a page on `width` by `height` pixels, uint8[height, width]."""
        placed = self._placed(laid)
        drawn: dict[tuple[int, ...], np.ndarray] = {}
        for colors in self._planes:
            if colors not in drawn:
                drawn[colors] = self._plane(laid, width, height, colors, placed)
        red, green, blue = (drawn[colors] for colors in self._planes)
        if red is green is blue:
            return red
        luma = np.full((height, width), 0x8000, np.uint32)
        for weight, plane in zip(_LUMA, (red, green, blue), strict=True):
            luma += np.uint32(weight) * plane
        return (luma >> 16).astype(np.uint8)

    @property
    def left(self) -> float:
        """Points from the page's edge to the frame."""
        return self._left

    def reach(self, lines: Sequence[Line]) -> float:
        """Points from the frame's left edge to where the longest line ends."""
        first = lines[0]
        if len(lines) == 1 and first.plain and not first.stops and not first.mono:
            widths = self.glyphs.widths_of(first.shown)
            return first.left + self._indent + float(widths.sum())
        plain = tuple(line for line in lines if line.plain and line.shown)
        reach = 0.0
        if plain:
            _, steps, counts, lefts = self._plain(plain)
            ends = np.cumsum(counts)
            reach = float((np.add.reduceat(steps, ends - counts) + lefts).max())
        points = self.style.font_size / 1000
        for line in lines:
            if not line.plain:
                width = sum(
                    glyph.advance
                    for glyph in self._shaper.line(line.shown, rtl=line.rtl, levels=line.levels)
                )
                reach = max(reach, line.left + self._indent + width * points)
        return reach

    def boxes(self, line: Line) -> np.ndarray:
        """Left and right edge of every character of `line.shown`, float64[len(shown), 2] pixels
        from the page's left edge. Characters shaped into one glyph share its box."""
        start = line.left + self._indent
        if line.plain:
            slots, steps, _, lefts = self._plain((line,))
            pens = np.cumsum(np.concatenate([lefts, steps]))
            own = self.glyphs.advance[slots] + (slots == self._space) * line.word_space
            boxes = np.stack([pens[:-1], pens[:-1] + own if line.stops else pens[1:]], axis=1)
        else:
            boxes = self._shaped_boxes(line, start)
        placed: np.ndarray = (boxes + self._left) * self.style.scale
        return placed

    def _shaped_boxes(self, line: Line, pen: float) -> np.ndarray:
        points = self.style.font_size / 1000
        boxes = np.full((len(line.shown), 2), np.nan)
        for glyph in self._shaper.line(line.shown, rtl=line.rtl, levels=line.levels):
            end = pen + glyph.advance * points
            low, high = boxes[glyph.at]
            boxes[glyph.at] = np.fmin(low, pen), np.fmax(high, end)
            pen = end
        for index in range(1, len(boxes)):  # the rest of a cluster
            if np.isnan(boxes[index, 0]):
                boxes[index] = boxes[index - 1]
        return boxes

    def _placed(self, laid: LaidPage) -> Placed:
        scale, origin = self.style.scale, self._left * self.style.scale
        loops = self.loops or fastest()
        phases = PHASES if self._phased else 1
        baselines = np.floor(laid.baselines).astype(np.int32)
        if all(map(_PLAIN, laid.lines)):
            slots, steps, counts, lefts = self._plain(laid.lines)
            known = self.glyphs.picture_of
            places = (slots, steps, counts, lefts, baselines, scale, origin, phases, known)
            pictures, columns, rows, keys = loops.place(*places)
            if len(pictures) and pictures.min() < 0:
                pictures = self.glyphs.pictures_of(keys)
        else:
            keys, columns, lifts, counts = self._mixed(laid.lines, scale, origin, phases)
            rows = (np.repeat(baselines, counts) - np.round(lifts * scale)).astype(np.int32)
            pictures = self.glyphs.pictures_of(keys)
        ends = np.cumsum(counts)
        marked = None
        if self.style.marker:
            marked = np.zeros(len(keys), bool)
            for line, count, end in zip(laid.lines, counts.tolist(), ends.tolist(), strict=True):
                for low, high in line.marked if line.plain else ():
                    marked[end - count + low : end - count + high] = True
        return Placed(pictures, columns, rows, marked, ends)

    def _plain(
        self, lines: tuple[Line, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Slots and steps of plain lines, and of every line the number of glyphs and the pen."""
        columns = list(zip(*lines, strict=True))
        shown, pens, wider, stops, mono = (columns[field] for field in _DRAWN)
        counts = np.array(list(map(len, shown)), np.int64)
        spaces, lefts = np.array(wider), np.array(pens) + self._indent
        codes = np.frombuffer("".join(shown).encode("utf-32-le"), np.uint32)
        slots, steps = self.glyphs.steps_of(codes, counts, spaces, self.loops or fastest())
        if any(stops) or any(mono):
            self._at_stops(lines, slots, steps, counts, lefts)
        return slots, steps, counts, lefts

    def _at_stops(
        self,
        lines: tuple[Line, ...],
        slots: np.ndarray,
        steps: np.ndarray,
        counts: np.ndarray,
        lefts: np.ndarray,
    ) -> None:
        """Move the pens of tables to their stops and those of drawings into their cells."""
        ends = np.cumsum(counts)
        for number, line in enumerate(lines):
            if not line.mono and not line.stops:
                continue
            own = slice(int(ends[number] - counts[number]), int(ends[number]))
            if line.mono:
                slots[own] = self.glyphs.mono_slots_of(line.shown)
                steps[own] = self.glyphs.cell * np.array(
                    [max(1, n) for n in map(num_cells, line.shown)]
                )
            pen, before = float(lefts[number]), own.start
            for index, place in line.stops:
                pen += float(steps[before : own.start + index].sum())
                if index:
                    steps[own.start + index - 1] += place + self._indent - pen
                else:
                    lefts[number] = place + self._indent
                pen, before = place + self._indent, own.start + index

    def _mixed(
        self, lines: tuple[Line, ...], scale: float, origin: float, phases: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Keys (slot and phase), columns and lifts above the baseline (points), and glyphs per
        line, where some lines are shaped."""
        points = self.style.font_size / 1000
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        flat = np.zeros(1, np.int32)
        for line in lines:
            if line.plain:
                places = (*self._plain((line,)), flat, scale, origin, phases)
                _, columns, _, keys = NUMPY.place(*places, self.glyphs.picture_of)
                parts.append((keys, columns, np.zeros(len(keys))))
                continue
            glyphs = self._shaper.line(line.shown, rtl=line.rtl, levels=line.levels)
            slots = np.array([self.glyphs.slot(g.font, g.glyph) for g in glyphs], np.int32)
            steps = np.array([line.left + self._indent, *(g.advance * points for g in glyphs)])
            pens = np.cumsum(steps)[:-1] + np.array([g.dx * points for g in glyphs])
            across = pens * scale + origin
            columns = np.floor(across).astype(np.int32)
            keys = slots * np.int32(PHASES)
            if phases > 1:
                keys += np.floor((across - columns) * PHASES).astype(np.int32)
            parts.append((keys, columns, np.array([g.dy * points for g in glyphs])))
        counts = np.array([len(part[0]) for part in parts], np.int64)
        keys, columns, lifts = (np.concatenate(column) for column in zip(*parts, strict=True))
        return keys, columns, lifts, counts

    def _plane(
        self, laid: LaidPage, width: int, height: int, colors: tuple[int, ...], placed: Placed
    ) -> np.ndarray:
        """One colour channel of the page."""
        page_color, block_color, text_color, marker_color, border_color = colors
        blit = (self.loops or fastest()).blit
        flat = np.full(height * width + STEP, page_color, np.uint8)
        plane = flat[: height * width].reshape(height, width)
        style, store = self.style, self.glyphs.pictures
        near = self._left + style.left_indent - style.border_padding
        far = style.page_size[0] - self._left - style.right_indent + style.border_padding
        left = max(0, int(np.floor(near * style.scale + 0.5)))
        right = int(np.floor(far * style.scale + 0.5))
        for block in laid.blocks or (Block(0, height, 0, len(laid.lines)),):
            if block.first or block_color != page_color:  # it covers ink of the block above
                plane[max(0, block.top) : max(0, block.bottom), left:right] = block_color
            if block.top == block.bottom and 0 <= block.top < height:
                edge = near * style.scale
                begin = max(0, int(edge))
                row = plane[block.top, begin:right].astype(np.uint32)
                faint = np.full(len(row), _faint(4), np.uint32)
                faint[:1] = _faint(4 - int((edge - int(edge)) * 4))
                plane[block.top, begin:right] = ((255 - faint) * row + faint * block_color) // 255
            if style.border_width and laid.blocks:
                self._border(plane, block, left, right, border_color)
            begin = int(placed.ends[block.first - 1]) if block.first else 0
            end = int(placed.ends[block.last - 1]) if block.last else 0
            runs = [(False, slice(0, end - begin))]
            if placed.marked is not None:
                runs = _runs(placed.marked[begin:end])
            for is_marker, run in runs:
                part = slice(begin + run.start, begin + run.stop)
                blit(
                    flat,
                    height,
                    width,
                    placed.pictures[part],
                    placed.xs[part],
                    placed.ys[part],
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


def _faint(num_samples: int) -> int:
    """Coverage that Splash gives a pixel of which so many of 16 samples are painted."""
    return int(255 * (num_samples / 16) ** 1.5 + 0.5)


def _runs(marked: np.ndarray) -> list[tuple[bool, slice]]:
    """Stretches of equal values."""
    if not len(marked):
        return []
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
