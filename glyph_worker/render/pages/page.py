"""What the layouts hand on: pages of lines. No pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from glyph_worker.document import Page
from glyph_worker.render.lines.line import Line
from glyph_worker.render.report import RenderReport


class Block(NamedTuple):
    """Lines that share one painted background (exact): rows [top, bottom), then lines.

    A background without height (top = bottom) shines through row `top` by an eighth.
    """

    top: int
    bottom: int
    first: int
    last: int


class Drawing(Protocol):
    """A laid page to pixels: every Layout, and pictured.Picture, which lays out no text."""

    def draw(self, laid: LaidPage) -> np.ndarray:
        """uint8[height, width]; [height, width, 3] where a picture keeps its colour"""

    def boxes(self, laid: LaidPage, index: int) -> np.ndarray:
        """Left and right edge of every character shown on a line, float64[n, 2] pixels."""

    def rows_of(self, laid: LaidPage, index: int) -> tuple[float, float]:
        """Top and bottom of a line, pixels."""


class Layout(Drawing, Protocol):
    """Text to pages, for one style: grid.Grid, flow.Flow, exact.Exact."""

    def pages(self, text: str, report: RenderReport) -> Iterator[LaidPage]:
        """The pages of a normalised text; counts missing glyphs into the report."""


@dataclass(frozen=True, slots=True)
class LaidPage:
    """A page whose lines are known and whose pixels are not yet drawn."""

    page: Page
    lines: tuple[Line, ...]
    layout: Drawing = field(repr=False, compare=False)
    baselines: tuple[float, ...] = ()
    """Of each line, pixels from the top of the page (exact, flow)."""
    blocks: tuple[Block, ...] = ()
    drawn: np.ndarray | None = field(default=None, repr=False, compare=False)
    """Pixels, where they had to be drawn to learn the size of a cropped page (exact)."""
