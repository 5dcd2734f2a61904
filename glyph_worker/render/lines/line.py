"""One drawn line: which characters it shows and where they come from. No pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """One drawn line. The lines of a document tile its normalised text without gap or overlap."""

    start: int
    end: int
    """Characters of the normalised text: those drawn, then the spaces and line end after them."""
    shown: str
    """What is drawn, in reading order: escapes and tabs are already spelled out, glue is U+00A0."""
    ends_paragraph: bool
    """The next line starts anew, whatever is above it: a paragraph ends, or what was run on."""
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
