"""How many cells of a terminal a character takes. No fonts."""

from __future__ import annotations

import unicodedata
from functools import lru_cache


@lru_cache(maxsize=65_536)
def num_cells(char: str) -> int:
    """Cells of a character: 2 for East Asian wide, 0 for marks and joiners, else 1."""
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if char >= "\u1100" and unicodedata.east_asian_width(char) in "WF" else 1


def width_in_cells(text: str) -> int:
    """Cells of a text."""
    return len(text) if text.isascii() else sum(map(num_cells, text))
