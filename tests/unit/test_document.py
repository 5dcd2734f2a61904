"""Documents and digests."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.document import PART_END, Document, digest
from glyph_worker.errors import DocumentTooLarge, EmptyDocument, InvalidEncoding, InvalidOption

parts = st.lists(st.one_of(st.text(), st.binary(), st.integers()), max_size=4)


@given(parts, parts)
def test_digests_are_equal_only_for_equal_parts(first: list, second: list) -> None:
    same = [(type(p), p) for p in first] == [(type(p), p) for p in second]
    assert (digest("k", *first) == digest("k", *second)) == same


def test_digest_keeps_kinds_and_boundaries_apart() -> None:
    assert digest("a", "b") != digest("b", "b")
    assert digest("k", "ab", "c") != digest("k", "a", "bc")
    assert digest("k", 1) != digest("k", "1") != digest("k", b"1")


def test_a_digest_is_sha256_over_typed_and_measured_parts() -> None:
    recipe = b"s" + (8).to_bytes(8, "big") + b"document" + b"b" + (5).to_bytes(8, "big") + b"glyph"
    assert digest("document", b"glyph") == hashlib.sha256(recipe).hexdigest()


def test_str_and_its_utf8_bytes_are_one_document() -> None:
    text = "Größe: 5 µm"
    as_bytes = Document.of(text.encode(), max_bytes=100)
    assert as_bytes == Document.of(text, max_bytes=100)
    assert as_bytes == Document.of(b"\xef\xbb\xbf" + text.encode(), max_bytes=100)


@given(st.text(alphabet=st.characters(exclude_categories=()), min_size=1))
def test_every_str_is_a_document_or_a_named_error(text: str) -> None:
    try:
        document = Document.of(text, max_bytes=10_000)
    except EmptyDocument:
        return
    except InvalidEncoding:
        with pytest.raises(UnicodeEncodeError):
            text.encode()
        return
    document.text.encode()  # no lone surrogate is left


def test_a_lone_surrogate_is_refused_by_its_place_and_a_pair_is_joined() -> None:
    with pytest.raises(InvalidEncoding, match=r"surrogate, U\+D83D, at character 2 of 3"):
        Document.of("ab\ud83d", max_bytes=100)
    assert Document.of("ab\ud83d\ude00", max_bytes=100).text == "ab\U0001f600"


@pytest.mark.parametrize("source", [7, None, True, 1.5, {"text"}, bytearray(b"text")])
def test_what_is_neither_text_nor_bytes_is_refused_by_its_type(source: object) -> None:
    with pytest.raises(InvalidOption, match=f"type {type(source).__name__}, must be str"):
        Document.of(source, max_bytes=100)  # type: ignore[arg-type]


def test_bytes_that_are_not_utf8_name_the_byte_and_its_place() -> None:
    with pytest.raises(InvalidEncoding, match=r"byte 0xfc at offset 2 of 5"):
        Document.of(b"ab\xfcde", max_bytes=100)


@pytest.mark.parametrize("nothing", ["", "  \n\t", "\x00\x01", "\u200b", b""])
def test_a_document_without_a_readable_character_is_refused(nothing: str | bytes) -> None:
    with pytest.raises(EmptyDocument, match="no readable character"):
        Document.of(nothing, max_bytes=100)


def test_the_limit_counts_bytes_and_the_message_has_both_numbers() -> None:
    Document.of("ä" * 5, max_bytes=10)
    with pytest.raises(DocumentTooLarge, match=r"12 bytes .* limit is 10"):
        Document.of("ä" * 6, max_bytes=10)


def test_several_documents_are_one_that_knows_their_names() -> None:
    rows = [("a.txt", "first"), ("b.txt", b"second"), ("c", Document.of("third", max_bytes=9))]
    one = Document.of(rows, max_bytes=100)
    assert one.text.split(PART_END) == ["first", "second", "third"]
    assert one.names == ("a.txt", "b.txt", "c")
    assert Document.of(dict(rows), max_bytes=100) == one
    assert Document.of(["x", "y"], max_bytes=100).names == ("document 1", "document 2")
    assert Document.of(one, max_bytes=100) == one


def test_a_mark_of_parts_in_one_of_several_documents_makes_no_two_of_it() -> None:
    one = Document.of([f"a{PART_END}b", "c"], max_bytes=100)
    assert one.text.count(PART_END) == 1


def test_what_is_wrong_with_one_of_several_documents_is_told_by_its_name() -> None:
    with pytest.raises(EmptyDocument, match=r"'b', 2 of 3 documents: document has no readable"):
        Document.of({"a": "x", "b": " ", "c": "y"}, max_bytes=100)
    with pytest.raises(EmptyDocument, match="1 of 100 documents"):
        Document.of([""] * 100, max_bytes=100)
    with pytest.raises(InvalidOption, match="101 documents in one job, must be 1 to 100"):
        Document.of(["x"] * 101, max_bytes=1_000)
    with pytest.raises(InvalidOption, match="0 documents"):
        Document.of([], max_bytes=100)
    with pytest.raises(InvalidOption, match="two documents are called 'a'"):
        Document.of([("a", "x"), ("a", "y")], max_bytes=100)
    with pytest.raises(InvalidOption, match="name must be 1 to 200 printable"):
        Document.of([("a\nb", "x"), ("b", "y")], max_bytes=100)
    with pytest.raises(DocumentTooLarge, match="2 documents have 101 bytes together, limit is 100"):
        Document.of(["x" * 50, "y" * 50], max_bytes=100)
