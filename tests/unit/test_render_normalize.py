"""The normal form of texts."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.document import PART_END
from glyph_worker.render.lines.normalize import normalize

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
KEPT_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u200c\u200d"


@given(ANY_TEXT)
def test_normal_form_is_stable_and_free_of_controls(text: str) -> None:
    once = normalize(text).text
    assert normalize(once).text == once
    assert not normalize(once).counts
    assert unicodedata.is_normalized("NFC", once)
    for char in once:
        assert char in "\n\t" + PART_END or unicodedata.category(char) not in ("Cc", "Cs")
        assert unicodedata.category(char) != "Cf" or char in KEPT_FORMATS or ord(char) > 0xFFFF


@pytest.mark.parametrize(
    ("text", "wanted", "counts"),
    [
        ("a\r\nb\rc\x0cd\u2028e\x85f", "a\nb\nc\nd\ne\nf", {"line_ends": 5}),
        ("a\x00b\x07c\x1b", "abc", {"controls": 3}),
        ("zero\u200bwidth\ufeff soft\xadhyphen", "zerowidth softhyphen", {"invisible": 3}),
        ("e\u0301", "é", {"composed": 1}),
        ("a\ud800b", "a\ufffdb", {"surrogates": 1}),
        ("plain text\twith tab\n", "plain text\twith tab\n", {}),
        ("می\u200cخواهم", "می\u200cخواهم", {}),
        ("a\u200cb \U0001f468\u200d\U0001f469", "ab \U0001f468\U0001f469", {"invisible": 2}),
    ],
)
def test_what_is_changed_is_counted(text: str, wanted: str, counts: dict[str, int]) -> None:
    done = normalize(text)
    assert done.text == wanted
    assert dict(done.counts) == counts


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\x1b[32mok\x1b[0m \x1b[1;31mERROR\x1b[m", "ok ERROR"),
        ("\x1b[38;5;208morange\x1b[39m \x1b[38:2::1:2:3mred", "orange red"),
        ("\x1b[2K\x1b[?25lBuilding\x1b[?25h\x1b[3 q", "Building"),
        ("\x1b]0;a title\x07text \x1b]8;;http://x.y/\x1b\\link\x1b]8;;\x1b\\", "text link"),
        ("\x1bPq#0;2;0;0;0\x1b\\a\x1b_Gf=100;AAAA\x1b\\b\x1b^x\x1b\\c\x1bXy\x1b\\d", "abcd"),
        ("\x1b(B\x1b=\x1b7text\x1b8\x1bM\x1b#8", "text"),
        ("\x9b1;31mred\x9bm \x9d0;title\x9cdone \x90q\x9c.", "red done ."),
        ("\x9bArtikel\x9c and \x98 \x9eena", "Artikel and  ena"),  # a wrongly decoded page
        ("cut \x1b]8;;no end\nnext \x1b[31", "cut 8;;no end\nnext "),
        ("N\x08NA\x08AM\x08ME _\x08o_\x08n x\x08_", "NAME on x"),
        ("a\x1b[31\r\nb", "a\nb"),
    ],
)
def test_terminal_sequences_are_dropped_whole(text: str, wanted: str) -> None:
    done = normalize(text)
    assert done.text == wanted
    assert normalize(wanted).text == wanted
    dropped = sum(done.counts.get(kind, 0) for kind in ("terminal", "controls"))
    assert dropped + done.counts.get("line_ends", 0) == len(text) - len(wanted)
    assert normalize(text + "\x1b[m").counts["terminal"] == done.counts.get("terminal", 0) + 3


PIECES = st.sampled_from(
    ["\x1b", "[", "]", "\x9d", "\x9b", "1;3", "m", "\x07", "\\", "\x08", "_", "\n"]
)


@given(st.lists(st.one_of(PIECES, ANY_TEXT), max_size=12).map("".join))
def test_any_mixture_of_sequences_has_a_stable_normal_form(text: str) -> None:
    once = normalize(text).text
    assert normalize(once).text == once
    assert not set(once) & set(map(chr, (*range(9), *range(11, 28), 29, 30, 31, *range(127, 160))))


@pytest.mark.parametrize(
    "opening", ["\x1b]", "\x1bP", "\x1b[", "\x1b[1", "\x9d", "\x9b1", "_\x08", "\x1b "]
)
def test_unfinished_sequences_take_linear_time(opening: str) -> None:
    text = opening * 400_000 + "a" * 400_000
    begin = time.process_time()
    assert normalize(text).text.strip("_").endswith("a" * 1000)
    assert time.process_time() - begin < 5  # seconds of this process: quadratic would take hours


def test_every_control_and_format_character_is_dropped_or_known() -> None:
    for code in range(0x110000):
        char = chr(code)
        if unicodedata.category(char) == "Cc" and char not in "\n\t" + PART_END:
            assert normalize(f"a{char}b").text in ("ab", "a\nb"), hex(code)
        elif unicodedata.category(char) == "Cf" and code < 0x10000 and char not in KEPT_FORMATS:
            assert normalize(f"a{char}b").text == "ab", hex(code)
