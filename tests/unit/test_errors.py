"""The error tree."""

from __future__ import annotations

import re

from glyph_worker import errors
from glyph_worker.codec import UnreadableEnvelope
from glyph_worker.errors import GlyphError


def _tree(kind: type[GlyphError]) -> list[type[GlyphError]]:
    return [kind, *(leaf for sub in kind.__subclasses__() for leaf in _tree(sub))]


def _public() -> list[type[GlyphError]]:
    return [kind for kind in _tree(GlyphError) if kind.__module__ == errors.__name__]


def test_every_class_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in _public()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)
    assert UnreadableEnvelope.code not in codes


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    drawn = re.findall(r"^[│├└─ ]*([A-Z]\w+)", errors.__doc__ or "", flags=re.MULTILINE)
    assert sorted(name for name in drawn if name != "The") == sorted(k.__name__ for k in _public())


def test_an_error_travels_as_code_message_and_details() -> None:
    wire = errors.DocumentTooLarge("too big", num_bytes=3).to_wire()
    assert wire == {
        "code": "document_too_large",
        "message": "too big",
        "details": {"num_bytes": 3},
    }
