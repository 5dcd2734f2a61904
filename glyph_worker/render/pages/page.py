"""What the layouts hand on: lines, pages of lines, and what is counted on the way. No pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from glyph_worker.document import Page


class Line(NamedTuple):
    """One drawn line. The lines of a document tile its normalised text without gap or overlap."""

    start: int
    end: int
    """Characters of the normalised text: those drawn, then the spaces and line end after them."""
    shown: str
    """What is drawn, in reading order: escapes and tabs are already spelled out, glue is U+00A0."""
    ends_paragraph: bool
    offsets: Sequence[int] | None = None
    """Where each character of `shown` comes from, as offsets into the normalised text; None when
    they are start, start + 1, …"""
    plain: bool = True
    """Every character of `shown` is one glyph, left to right; else it must be shaped."""
    left: float = 0.0
    """Where the pen starts, points from the left indent (exact, flow)."""
    word_space: float = 0.0
    """Points added to every space (exact, flow)."""
    marked: tuple[tuple[int, int], ...] = ()
    """Runs of `shown` drawn in the newline marker's colour."""
    rtl: bool = False
    """The paragraph runs right to left (only where not plain)."""
    levels: bytes = b""
    """Of each character of `shown`, as its paragraph gives them (only where not plain)."""
    stops: tuple[tuple[int, float], ...] = ()
    """Characters of `shown` whose pen stands at a place of its own, points from the left indent."""
    mono: bool = False
    """Drawn in the monospaced font, a character a cell."""

    def offset_of(self, index: int) -> int:
        """Offset in the normalised text of the character `shown[index]`."""
        if self.offsets is None:
            return self.start + index
        return self.offsets[index] if index < len(self.offsets) else self.end


class Block(NamedTuple):
    """Lines that share one painted background (exact): rows [top, bottom), then lines.

    A background without height (top = bottom) shines through row `top` by an eighth.
    """

    top: int
    bottom: int
    first: int
    last: int


@dataclass(kw_only=True)
class RenderReport:
    """What happened to a document; complete once its pages are all laid out."""

    num_chars: int = 0
    """Characters of the normalised text."""
    num_lines: int = 0
    num_pages: int = 0
    normalized: dict[str, int] = field(default_factory=dict)
    """Changes made by `normalize`, by kind."""
    missing_glyphs: Counter[str] = field(default_factory=Counter)
    """Characters that no font can draw, with their number; drawn as an escape such as [U+13000]."""

    @property
    def num_missing_glyphs(self) -> int:
        return sum(self.missing_glyphs.values())


class Layout(Protocol):
    """Text to pages to pixels, for one style: grid.Grid, flow.Flow, exact.Exact."""

    def pages(self, text: str, report: RenderReport) -> Iterator[LaidPage]:
        """The pages of a normalised text; counts missing glyphs into the report."""

    def draw(self, laid: LaidPage) -> np.ndarray:
        """uint8[height, width]"""

    def boxes(self, laid: LaidPage, index: int) -> np.ndarray:
        """Left and right edge of every character shown on a line, float64[n, 2] pixels."""

    def rows_of(self, laid: LaidPage, index: int) -> tuple[float, float]:
        """Top and bottom of a line, pixels."""


@dataclass(frozen=True, slots=True)
class LaidPage:
    """A page whose lines are known and whose pixels are not yet drawn."""

    page: Page
    lines: tuple[Line, ...]
    layout: Layout = field(repr=False, compare=False)
    baselines: tuple[float, ...] = ()
    """Of each line, pixels from the top of the page (exact, flow)."""
    blocks: tuple[Block, ...] = ()
    drawn: np.ndarray | None = field(default=None, repr=False, compare=False)
    """Pixels, where they had to be drawn to learn the size of a cropped page (exact)."""
