"""Lines that need shaping or run right to left: which glyphs, where, in what order. No pixels.

lines.bidi resolves directions, HarfBuzz shapes; plain lines never come here.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from glyph_worker.render.fonts import marks
from glyph_worker.render.fonts.bidi import REMOVED, first_strong_level, levels_of
from glyph_worker.render.fonts.fontfile import FontFile
from glyph_worker.render.fonts.scripts import COMPLEX

_MAX_WORDS = 20_000
_MAX_CHARS = 100_000
_MAX_RUNS, _LONGEST_KEPT = 20_000, 16
"""Shaped runs that are kept, and the characters of the longest: text in many scripts or with many
signs falls into short runs that recur."""
_LONGEST_RUN = 2_000
"""Characters shaped at once: HarfBuzz gives up on some runs of tens of thousands, and no line has
so many."""
_JOINERS = "\u200c\u200d"
_JOINING = " \u00a0" + _JOINERS
_TURNS = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
"""Only right-to-left blocks can give a left-to-right paragraph other levels than 0."""
_VIRAMA = 9
"""Canonical combining class of what binds two consonants."""
_SILENT = "\u0e3a\u103a"
"""Signs of that class that bind nothing."""
_PARAGRAPHS = re.compile(f"[{marks.MARKS}]+|[^{marks.MARKS}]+")
_GLUE = re.compile("\u00a0\u00a0+")
_LETTERS = COMPLEX.pattern[1:-1] + _JOINERS
_PARTS = re.compile(f"[{_LETTERS}]+|[^{_LETTERS}]+")
"""Words of complex letters, and what is between them."""
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


class _FontOf(dict[str, int]):
    """Font of every character met; of what joins the one before it, JOINS."""

    JOINS = -2

    def __init__(self, fonts: tuple[FontFile, ...]) -> None:
        super().__init__()
        self._fonts = fonts

    def __missing__(self, char: str) -> int:
        if len(self) > _MAX_CHARS:
            self.clear()
        if char in marks.MARKS:
            font = marks.FONT
        elif char in _JOINING or unicodedata.category(char)[0] == "M":
            font = self.JOINS
        else:
            font = self.first(ord(char))
        self[char] = font
        return font

    def first(self, code: int) -> int:
        """The first font that has a code point; 0 when none has."""
        for number, font in enumerate(self._fonts):
            if code in font.glyph_of:
                return number
        return 0


class _Run(NamedTuple):
    """Glyphs of one run, in visual order; lists of one length."""

    font: int
    glyphs: list[int]
    advances: list[float]
    dxs: list[float]
    dys: list[float]
    ats: list[int]


class Shaper:
    """Shapes lines with a chain of fonts."""

    def __init__(
        self,
        fonts: tuple[FontFile, ...],
        *,
        space: float | None = None,
        mark_width: Callable[[str], float] | None = None,
    ) -> None:
        """space: the width of every space in thousandths of the font size, so that shaped lines
        are as wide as wrapping took them to be; None: that of the font around it. mark_width:
        that of a mark, where lines have some."""
        self._mark_width = mark_width
        self._fonts = fonts
        self._font_of = _FontOf(fonts)
        self._space = space
        self._widths: dict[str, float] = {}
        self._kept: dict[tuple[str, int, bool], _Run] = {}
        """Shaped runs by text, font and direction, as if they began a line."""
        self._last: tuple[str, list[int]] = ("", [])
        """The word measured last, and where its glyphs begin: an overlong one is cut next."""

    @cached_property
    def _shapers(self) -> list[Any]:
        import uharfbuzz

        return [uharfbuzz.Font(uharfbuzz.Face(uharfbuzz.Blob(font.raw), 0)) for font in self._fonts]

    def width(self, word: str) -> float:
        """Sum of the advances of a word, thousandths of the font size."""
        width = self._widths.get(word)
        if width is None:
            runs = self._shaped(word, _levels(word, rtl=False))
            width = sum(itertools.chain.from_iterable(run.advances for run in runs))
            self._last = word, list(itertools.chain.from_iterable(run.ats for run in runs))
            if len(self._widths) > _MAX_WORDS:
                self._widths.clear()
            self._widths[word] = width
        return width

    def line(self, text: str, *, rtl: bool, levels: bytes = b"") -> list[Shaped]:
        """The glyphs of a line from left to right; `rtl` is its paragraph's direction, `levels`
        are its characters' in there (paragraph_levels), empty where the line is a paragraph."""
        out: list[Shaped] = []
        for run in self._shaped(text, _levels(text, levels, rtl=rtl)):
            rows = zip([run.font] * len(run.ats), *run[1:], strict=True)
            out += [tuple.__new__(Shaped, row) for row in rows]  # skips a slow constructor
        return out

    def clusters(self, word: str) -> list[str]:
        """A word's parts that no line break may cut: letters with their marks and conjuncts."""
        if self._last[0] != word:
            self._widths.pop(word, None)
            self.width(word)
        begins = sorted({0, *self._last[1]})
        return [word[a:b] for a, b in itertools.pairwise([*begins, len(word)]) if a < b]

    def _shaped(self, text: str, levels: Sequence[int]) -> list[_Run]:
        """The runs of a line from left to right."""
        runs = list(self._runs(text, levels))
        for level in range(max(levels, default=0), 0, -1):
            runs = _reversed_from(runs, level)
        return [
            self._shape(text, begin, end, font, bool(level % 2)) for begin, end, font, level in runs
        ]

    def _runs(self, text: str, levels: Sequence[int]) -> Iterator[tuple[int, int, int, int]]:
        """Stretches of one font and one level: begin, end, font, level."""
        begin = 0
        alike = itertools.groupby(zip(self._fonts_of(text), levels, strict=True))
        for (font, level), stretch in alike:
            end = begin + len(list(stretch))
            for at in range(begin, end, _LONGEST_RUN):
                yield at, min(at + _LONGEST_RUN, end), font, level
            begin = end

    def _fonts_of(self, text: str) -> list[int]:
        """The font of every character."""
        fonts: list[int] = []
        for part in _PARTS.findall(text):
            letters = COMPLEX.match(part) and unicodedata.category(part[0])[0] != "M"
            font = self._font_for(part) if letters else None
            if font is not None:  # letters join only within one font
                fonts += [font] * len(part)
                continue
            own = list(map(self._font_of.__getitem__, part))
            at = 0
            for _ in range(own.count(_FontOf.JOINS)):
                at = own.index(_FontOf.JOINS, at)
                before = own[at - 1] if at else fonts[-1] if fonts else marks.FONT
                own[at] = self._joined(part[at], before)
            fonts += own
        return fonts

    def _font_for(self, word: str) -> int | None:
        """The first font that has all letters of a word; None when none has."""
        codes = {ord(char) for char in set(word)} - {0x200C, 0x200D}
        for number, font in enumerate(self._fonts):
            if all(code in font.glyph_of for code in codes):
                return number
        return None

    def _joined(self, char: str, before: int) -> int:
        """The font of what goes with the character before it, if that one's has it."""
        code = 0x20 if char == "\u00a0" else ord(char)
        if before != marks.FONT and (code in self._fonts[before].glyph_of or char in _JOINERS):
            return before
        return self._font_of.first(code)

    def _shape(self, text: str, begin: int, end: int, font: int, rtl: bool) -> _Run:
        """The glyphs of text[begin:end]; what stands around it does not count."""
        if end - begin > _LONGEST_KEPT:
            return self._shape_anew(text, begin, end, font, rtl)
        key = text[begin:end], font, rtl
        run = self._kept.get(key)
        if run is None:
            if len(self._kept) >= _MAX_RUNS:
                self._kept.clear()
            run = self._kept[key] = self._shape_anew(key[0], 0, end - begin, font, rtl)
        return run._replace(ats=[begin + at for at in run.ats])

    def _shape_anew(self, text: str, begin: int, end: int, font: int, rtl: bool) -> _Run:
        import uharfbuzz

        if font == marks.FONT and self._mark_width is not None:
            ats = list(range(end - 1, begin - 1, -1) if rtl else range(begin, end))
            none = [0.0] * len(ats)
            widths = [self._mark_width(text[at]) for at in ats]
            return _Run(font, [marks.MARKS.index(text[at]) for at in ats], widths, none, none, ats)
        buffer = uharfbuzz.Buffer()
        run = text[begin:end].replace("\u00a0", " ")
        buffer.add_codepoints(list(map(ord, run)))
        buffer.guess_segment_properties()
        buffer.direction = "rtl" if rtl else "ltr"
        uharfbuzz.shape(self._shapers[font], buffer, _FEATURES)
        scale = 1000 / self._fonts[font].units_per_em
        infos, places = buffer.glyph_infos or [], buffer.glyph_positions or []
        ats = [begin + info.cluster for info in infos]
        advances = [place.x_advance * scale for place in places]
        if self._space is not None and " " in run:
            for index, at in enumerate(ats):
                if advances[index] and run[at - begin] == " ":
                    advances[index] = self._space
        return _Run(
            font,
            [info.codepoint for info in infos],
            advances,
            [place.x_offset * scale for place in places],
            [place.y_offset * scale for place in places],
            ats,
        )


def is_rtl(text: str) -> bool:
    """Whether a paragraph runs right to left: its first strong character decides."""
    return first_strong_level(text) == 1


def keeps_together(before: str, after: str) -> bool:
    """Whether two neighbours belong to one cluster: marks, joiners, conjuncts."""
    return (
        unicodedata.category(after)[0] == "M"
        or before in _JOINERS
        or after in _JOINERS
        or (unicodedata.combining(before) == _VIRAMA and before not in _SILENT)
    )


@lru_cache(maxsize=1)  # an endless word is measured first, and then set as a paragraph
def paragraph_levels(text: str, *, rtl: bool) -> bytes:
    """Level of every character of a paragraph; a line's are a slice of them."""
    if not rtl and not _TURNS.search(text):
        return bytes(len(text))
    if marks.ANY_MARK.search(text):  # paragraphs run on: each by itself
        parts = _PARAGRAPHS.findall(text)
        return b"".join(
            bytes([rtl]) * len(part) if part[0] in marks.MARKS else paragraph_levels(part, rtl=rtl)
            for part in parts
        )
    glue = _GLUE.sub(lambda run: " " * len(run[0]), text)  # no-break spaces only by spelling
    levels = levels_of(glue, int(rtl))
    before = int(rtl)
    for index, level in enumerate(levels):  # joiners go with the character before
        if level == REMOVED:
            levels[index] = before
        before = levels[index]
    return bytes(levels)


def _levels(text: str, levels: bytes = b"", *, rtl: bool) -> bytes:
    """Those of a line, from its paragraph's; by rule L1 spaces at its end have the paragraph's."""
    levels = levels or paragraph_levels(text, rtl=rtl)
    kept = len(text.rstrip())
    return levels[:kept] + bytes([rtl]) * (len(text) - kept)


def _reversed_from(
    runs: list[tuple[int, int, int, int]], level: int
) -> list[tuple[int, int, int, int]]:
    """Rule L2: reverse every stretch of runs at this level or above."""
    out: list[tuple[int, int, int, int]] = []
    for high, group in itertools.groupby(runs, key=lambda run: run[3] >= level):
        part = list(group)
        out += part[::-1] if high else part
    return out
