"""The normal form of texts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs")
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


def test_every_control_and_format_character_is_dropped_or_known() -> None:
    for code in range(0x110000):
        char = chr(code)
        if unicodedata.category(char) == "Cc" and char not in "\n\t":
            assert normalize(f"a{char}b").text in ("ab", "a\nb"), hex(code)
        elif unicodedata.category(char) == "Cf" and code < 0x10000 and char not in KEPT_FORMATS:
            assert normalize(f"a{char}b").text == "ab", hex(code)
