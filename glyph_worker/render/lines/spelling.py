"""From characters to what is drawn: tabs, odd spaces, escapes for what no font has. No widths."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from glyph_worker.render.fonts.fontfile import FontFile
from glyph_worker.render.fonts.scripts import COMPLEX
from glyph_worker.render.loops.wrap_loop import NEWLINE, ODD, SIMPLE, SPACE
from glyph_worker.render.report import RenderReport


def one_of(codes: Iterable[int]) -> str:
    """A regular expression's character class of these code points."""
    ordered = sorted(set(codes))
    out, index = [], 0
    while index < len(ordered):
        last = index
        while last + 1 < len(ordered) and ordered[last + 1] == ordered[last] + 1:
            last += 1
        out.append(f"\\U{ordered[index]:08x}-\\U{ordered[last]:08x}")
        index = last + 1
    return f"[{''.join(out)}]" if out else "(?!)"


_RUNS = re.compile("  +")


def glued(text: str) -> str:
    """Runs of two spaces and more made unbreakable, as the reference does."""
    if "  " not in text:
        return text
    return _RUNS.sub(lambda match: "\u00a0" * len(match[0]), text)


class Alphabet(NamedTuple):
    """What a chain of fonts draws as it stands."""

    kind_of: np.ndarray
    """Class of every character, uint8[0x110000]; see wrap_loop."""
    odd: re.Pattern[str]
    """Anything that needs a look."""
    stretch: re.Pattern[str]
    """A stretch that needs one: all but simple characters parted by single spaces."""
    has_glyph: bytes
    """Whether any font has a glyph for it, of every character."""


@lru_cache(maxsize=8)
def _alphabet(fonts: tuple[FontFile, ...]) -> Alphabet:
    codes = set().union(*(font.glyph_of for font in fonts))
    drawn = [
        code
        for code in codes
        if code >= 0x20 and not chr(code).isspace() and not COMPLEX.match(chr(code))
    ]
    kind_of = np.full(0x110000, ODD, np.uint8)
    kind_of[drawn] = SIMPLE
    kind_of[0x20], kind_of[0x0A] = SPACE, NEWLINE
    simple = one_of(drawn)[1:-1]
    odd = re.compile(f"[^ {simple}]")
    stretch = re.compile(f"(?:[^ {simple}]| (?=[^{simple}]))[^{simple}]*")
    has_glyph = np.zeros(0x110000, np.uint8)
    has_glyph[list(codes)] = 1
    return Alphabet(kind_of, odd, stretch, has_glyph.tobytes())


class Speller:
    """Spells out paragraphs; quick where there is nothing to spell."""

    def __init__(self, fonts: tuple[FontFile, ...], *, tab_width: int, collapse: bool) -> None:
        """`collapse` makes one space of every run of white space but of plain spaces (exact)."""
        alphabet = _alphabet(fonts)
        self.kind_of = alphabet.kind_of
        self._odd, self._stretch = alphabet.odd, alphabet.stretch
        self._has_glyph = alphabet.has_glyph
        self._tab_width = tab_width
        self._collapse = collapse

    def needs(self, text: str) -> bool:
        """Whether a text has anything but drawable characters and spaces."""
        return self._odd.search(text) is not None

    def spell(self, text: str, start: int, report: RenderReport) -> tuple[str, list[int] | None]:
        """What to draw for a paragraph, and the offset that each of its characters comes from.

        None for the offsets when they are start, start + 1, … Break opportunities are U+0020,
        always single; all other spaces are U+00A0.
        """
        if self._odd.search(text) is None:
            return glued(text), None
        shown: list[str] = []
        offsets: list[int] = []
        column = done = 0
        for match in self._stretch.finditer(text):
            begin, end = match.span()
            shown.append(text[done:begin])
            offsets.extend(range(start + done, start + begin))
            column += begin - done
            before = ""
            for index in range(begin, end):
                char = text[index]
                spelled = self._spelled(char, text, index, column, report)
                if spelled == " " and before.endswith(" "):
                    if self._collapse:
                        continue
                    spelled = "\u00a0"
                before = spelled
                shown.append(spelled)
                offsets.extend([start + index] * len(spelled))
                column += len(spelled)
            done = end
        shown.append(text[done:])
        offsets.extend(range(start + done, start + len(text)))
        return "".join(shown), offsets

    def _spelled(self, char: str, text: str, index: int, column: int, report: RenderReport) -> str:
        if char == " ":
            double = text[index - 1 : index] == " " or text[index + 1 : index + 2] == " "
            return "\u00a0" if double else " "
        if char.isspace():
            return self._space(char, column)
        if self._drawn(char):
            return char
        report.missing_glyphs[char] += 1
        return f"[U+{ord(char):04X}]"

    def _space(self, char: str, column: int) -> str:
        if char == "\u00a0":
            return char
        if self._collapse:
            return " "
        if char == "\t":
            return "\u00a0" * (self._tab_width - 1 - column % self._tab_width) + " "
        if unicodedata.east_asian_width(char) == "F" and self._drawn(char):
            return char
        return " "

    def _drawn(self, char: str) -> bool:
        return bool(self._has_glyph[ord(char)])
