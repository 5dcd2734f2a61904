"""What happened to a document on its way to pages: counted, for the receipt. No pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


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
