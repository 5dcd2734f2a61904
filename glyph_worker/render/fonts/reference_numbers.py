"""Numbers as the reference passes them from reportlab to poppler: printed, then read back."""

from __future__ import annotations

import math
from functools import lru_cache


def printed(value: float) -> str:
    """A number as reportlab prints it: about 6 significant decimals, fewer for large numbers."""
    size = abs(value)
    if size <= 1e-7:
        return "0"
    decimals = 6 if size <= 1 else min(max(0, 6 - int(math.log(size) / math.log(10.0))), 6)
    text = f"{value:.{decimals}f}"
    if decimals:
        text = text.rstrip("0").rstrip(".")
    return text or "0"


def read(text: str) -> float:
    """A decimal as poppler's lexer reads it: digit by digit in doubles, errors included."""
    negative = text.startswith("-")
    whole, _, digits = text.lstrip("-").partition(".")
    value, scale = float(int(whole or "0")), 0.1
    for digit in digits:
        value += scale * int(digit)
        scale *= 0.1
    return -value if negative else value


@lru_cache(maxsize=4096)
def as_poppler_reads(value: float) -> float:
    """What poppler sees of a number that reportlab wrote."""
    return read(printed(value))
