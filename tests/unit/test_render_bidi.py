"""Directions: Unicode's own test, line by line; what paragraphs look like after wrapping."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import zstandard

from glyph_worker.render.fonts.bidi import REMOVED, first_strong_level, levels_of
from glyph_worker.render.fonts.fontfile import find_font
from glyph_worker.render.fonts.shaping import Shaper
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style

DATA = Path(__file__).parent / "unicode" / "BidiCharacterTest.txt.zst"


def test_every_line_of_bidi_character_test_passes() -> None:
    count, wrong = 0, []
    with zstandard.ZstdDecompressor().stream_reader(DATA.read_bytes()) as raw:
        for line in io.TextIOWrapper(raw, encoding="utf-8"):
            data = line.split("#")[0].strip()
            if not data:
                continue
            count += 1
            codes, way, paragraph, wanted, _ = data.split(";")
            text = "".join(chr(int(code, 16)) for code in codes.split())
            base = first_strong_level(text) if way == "2" else int(way)
            levels = [REMOVED if one == "x" else int(one) for one in wanted.split()]
            if base != int(paragraph) or levels_of(text, base) != levels:
                wrong.append(data)
    assert count == 91_707
    assert wrong == []


def test_an_isolate_ends_at_its_paragraph_s_separator() -> None:
    before, after = "a\u2066b\u2067\u05d0", "\u05d1\u2069 c\u2069"
    levels = levels_of(f"{before}\n{after}", 0)
    assert levels == [*levels_of(before, 0), 0, *levels_of(after, 0)]


def shown(text: str, *, rtl: bool) -> str:
    """The characters of a line from left to right; brackets are mirrored by the font."""
    shaper = Shaper(preset_style("balanced").fonts)
    return "".join(text[glyph.at] for glyph in shaper.line(text, rtl=rtl))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("הפונקציה print(x)", "print(x) היצקנופה"),
        ("פקודה ls (רשימה)", ")המישר( ls הדוקפ"),
        ("גרסה 3.11 [Python]", "]Python[ 3.11 הסרג"),
    ],
)
def test_brackets_stand_where_rule_n0_puts_them(text: str, wanted: str) -> None:
    assert shown(text, rtl=True) == wanted


def test_a_bracket_that_closes_on_the_next_line_keeps_its_paragraph_s_direction() -> None:
    style = preset_style("balanced").with_(page_size=(150, 200))
    text = "קראו את foo(bar, baz, quux, corge, grault, garply) לפני הכול"
    (page,) = paginate(text, style)
    levels = b"".join(line.levels for line in page.lines)
    assert len(page.lines) > 1
    drawn = "".join(line.shown for line in page.lines)
    assert levels[drawn.index("(")] == levels[drawn.index(")")] == 2


def test_letters_that_join_come_from_one_font() -> None:
    fonts = preset_style("balanced").fonts
    shaper = Shaper(fonts)
    for word in ("ہے۔", "ہمارے", "یہ", "لڑکے"):
        (number,) = {glyph.font for glyph in shaper.line(word, rtl=True)}
        assert all(ord(char) in fonts[number].glyph_of for char in word)
    naskh = find_font("NotoNaskhArabic-Regular.ttf", key="font-path")
    assert {fonts[glyph.font] for glyph in shaper.line("ہے", rtl=True)} == {naskh}


def test_a_run_that_recurs_is_shaped_once_and_lies_where_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fonts = preset_style("balanced").fonts
    word, line = "नमस्ते", "नमस्ते a नमस्ते"
    alone = Shaper(fonts).line(word, rtl=False)
    shaper, shaped = Shaper(fonts), []
    anew = shaper._shape_anew

    def counted(text: str, begin: int, end: int, font: int, rtl: bool) -> object:
        shaped.append(text[begin:end])
        return anew(text, begin, end, font, rtl)

    monkeypatch.setattr(shaper, "_shape_anew", counted)
    glyphs = shaper.line(line, rtl=False)
    assert shaped.count(word) == 1
    at = line.rindex(word)
    assert glyphs[: len(alone)] == alone
    assert glyphs[-len(alone) :] == [one._replace(at=one.at + at) for one in alone]


@pytest.mark.parametrize("part", ["(א", "א)", "([{", "א1,", "\u2067(", "a\u200d)", "א$"])
def test_levels_take_linear_time(part: str) -> None:
    begin = time.process_time()
    assert len(levels_of(part * 100_000, 1)) == len(part) * 100_000
    assert time.process_time() - begin < 30  # of this process; quadratic would take an hour
