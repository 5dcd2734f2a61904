"""Lines that need shaping or run right to left: which glyphs, where, in what order. No pixels.

python-bidi resolves directions, HarfBuzz shapes; plain lines never come here.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from glyph_worker.render.fonts.fontfile import FontFile

_MAX_WORDS = 20_000
# Only what a script needs: the reference does not kern and has no ligatures.
_FEATURES = {"kern": False, "liga": False, "clig": False, "dlig": False}


class Shaped(NamedTuple):
    """One glyph, in visual order. Lengths are thousandths of the font size."""

    font: int
    glyph: int
    advance: float
    dx: float
    dy: float
    at: int
    """The first character of the line that it stands for."""


class Shaper:
    """Shapes lines with a chain of fonts."""

    def __init__(self, fonts: tuple[FontFile, ...], *, space: float | None = None) -> None:
        """space: the width of every space in thousandths of the font size, so that shaped lines
        are as wide as wrapping took them to be; None: that of the font around it."""
        self._fonts = fonts
        self._space = space
        self._widths: dict[str, float] = {}

    @cached_property
    def _shapers(self) -> list[Any]:
        import uharfbuzz

        return [uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob(font.raw), 0)) for font in self._fonts]

    def width(self, word: str) -> float:
        """Sum of the advances of a word, thousandths of the font size."""
        width = self._widths.get(word)
        if width is None:
            width = sum(glyph.advance for glyph in self.line(word, rtl=False))
            if len(self._widths) > _MAX_WORDS:
                self._widths.clear()
            self._widths[word] = width
        return width

    def line(self, text: str, *, rtl: bool) -> list[Shaped]:
        """The glyphs of a line from left to right; `rtl` is its paragraph's direction."""
        levels = _levels(text, rtl)
        runs = list(self._runs(text, levels))
        for level in range(max(levels, default=0), 0, -1):
            runs = _reversed_from(runs, level)
        out: list[Shaped] = []
        for begin, end, font, level in runs:
            out += self._shape(text, begin, end, font, bool(level % 2))
        return out

    def _runs(self, text: str, levels: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
        """Stretches of one font and one level: begin, end, font, level."""
        fonts: list[int] = []
        for char in text:
            code = 0x20 if char == "\u00a0" else ord(char)
            before = fonts[-1] if fonts else None
            joins = unicodedata.category(char)[0] == "M" or char in " \u00a0\u200c\u200d"
            if joins and before is not None:
                keeps = code in self._fonts[before].glyph_of or char in "\u200c\u200d"
                fonts.append(before if keeps else self._font_of(code))
            else:
                fonts.append(self._font_of(code))
        begin = 0
        for index in range(1, len(text) + 1):
            same = index < len(text) and (fonts[index], levels[index]) == (
                fonts[begin],
                levels[begin],
            )
            if not same:
                yield begin, index, fonts[begin], levels[begin]
                begin = index

    def _font_of(self, code: int) -> int:
        for number, font in enumerate(self._fonts):
            if code in font.glyph_of:
                return number
        return 0

    def _shape(self, text: str, begin: int, end: int, font: int, rtl: bool) -> list[Shaped]:
        import uharfbuzz

        buffer = uharfbuzz.Buffer()
        run = text[begin:end].replace("\u00a0", " ")
        buffer.add_codepoints([ord(char) for char in run])
        buffer.guess_segment_properties()
        buffer.direction = "rtl" if rtl else "ltr"
        uharfbuzz.shape(self._shapers[font], buffer, _FEATURES)
        scale = 1000 / self._fonts[font].units_per_em
        out = []
        for item, place in zip(buffer.glyph_infos or [], buffer.glyph_positions or [], strict=True):
            advance = place.x_advance * scale
            if advance and self._space is not None and run[item.cluster] == " ":
                advance = self._space
            out.append(
                Shaped(
                    font,
                    item.codepoint,
                    advance,
                    place.x_offset * scale,
                    place.y_offset * scale,
                    begin + item.cluster,
                )
            )
        return out


def is_rtl(text: str) -> bool:
    """Whether a paragraph runs right to left: its first strong character decides."""
    for char in text:
        kind = unicodedata.bidirectional(char)
        if kind in ("R", "AL"):
            return True
        if kind == "L":
            return False
    return False


def _levels(text: str, rtl: bool) -> list[int]:
    """Embedding level of every character (UAX #9; explicit controls are gone by then)."""
    if not any(unicodedata.bidirectional(char) in ("R", "AL", "AN") for char in text):
        return [int(rtl) * 2] * len(text) if rtl else [0] * len(text)
    from bidi import algorithm

    storage = algorithm.get_empty_storage()
    storage["base_level"] = int(rtl)
    storage["base_dir"] = "R" if rtl else "L"
    algorithm.get_embedding_levels(text, storage)
    algorithm.explicit_embed_and_overrides(storage)
    algorithm.resolve_weak_types(storage)
    algorithm.resolve_neutral_types(storage, False)
    algorithm.resolve_implicit_levels(storage, False)
    kept = iter([int(char["level"]) for char in storage["chars"]])
    levels: list[int] = []
    for char in text:  # the algorithm drops joiners: they go with the character before
        if unicodedata.bidirectional(char) in algorithm.X9_REMOVED:
            levels.append(levels[-1] if levels else int(rtl))
        else:
            levels.append(next(kept, int(rtl)))
    for index in range(len(text) - 1, -1, -1):  # rule L1: spaces at the end of a line
        if not text[index].isspace():
            break
        levels[index] = int(rtl)
    return levels


def _reversed_from(
    runs: list[tuple[int, int, int, int]], level: int
) -> list[tuple[int, int, int, int]]:
    """Rule L2: reverse every stretch of runs at this level or above."""
    out: list[tuple[int, int, int, int]] = []
    for high, group in itertools.groupby(runs, key=lambda run: run[3] >= level):
        part = list(group)
        out += part[::-1] if high else part
    return out
