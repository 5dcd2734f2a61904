"""What the layouts hand on: lines, pages of lines, and what is counted on the way. No pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from glyph_worker.document import Page, PageSpan


@dataclass(frozen=True, slots=True)
class Line:
    """One drawn line. The lines of a document tile its normalised text without gap or overlap."""

    start: int
    end: int
    """Characters of the normalised text: those drawn, then the spaces and line end after them."""
    shown: str
    """What is drawn, in reading order: escapes and tabs are already spelled out."""
    ends_paragraph: bool
    offsets: Sequence[int] | None = None
    """Where each character of `shown` comes from, as offsets into the normalised text; None when
    they are start, start + 1, …"""
    plain: bool = True
    """Every character of `shown` is one glyph of the first font, left to right."""


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
    """Characters that no font can draw, with their number; drawn as an escape such as [U+1F600]."""

    @property
    def num_missing_glyphs(self) -> int:
        return sum(self.missing_glyphs.values())


class Painter(Protocol):
    """The half of a layout that draws."""

    def draw(self, laid: LaidPage) -> np.ndarray: ...

    def spans(self, laid: LaidPage) -> Iterator[PageSpan]: ...


@dataclass(frozen=True, slots=True)
class LaidPage:
    """A page whose lines are known and whose pixels are not yet drawn."""

    page: Page
    lines: tuple[Line, ...]
    painter: Painter = field(repr=False, compare=False)

    def spans(self) -> Iterator[PageSpan]:
        """Where each line's characters lie, in pixels of this page, top to bottom."""
        return self.painter.spans(self)
