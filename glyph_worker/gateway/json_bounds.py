"""How much structure a JSON body has, known before any of it is built. Knows no model."""

from __future__ import annotations

from glyph_worker.answer_form import MAX_DEPTH as SCHEMA_DEPTH
from glyph_worker.answer_form import MAX_VALUES
from glyph_worker.errors import InvalidOption

MAX_DEPTH = 8 + SCHEMA_DEPTH
"""Our bodies nest three deep, but for the schema of an answer."""

MORE_VALUES = 200 + MAX_VALUES
"""Values that a body may have beside its questions: every option, a schema, and then some."""

_BYTES_PER_VALUE = 32
"""Of what is outside strings: commas, colons, brackets, numbers."""


def check_bounds(raw: bytes, *, max_values: int, max_depth: int = MAX_DEPTH) -> None:
    """Raises InvalidOption for more than `max_values` values, or for nesting over `max_depth`.

    A megabyte of `[],[],…` or of wrong questions would otherwise become half a gigabyte of
    objects and of findings about them. Takes a few passes of C over the bytes, and no memory but
    copies of them; what is no JSON passes, for the parser to refuse.
    """
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw
    if bare.count(b'"') > 4 * max_values:  # a key and a value, two quotes each
        raise _too_many(max_values)
    outside = b"".join(bare.split(b'"')[::2]).translate(None, b" \t\r\n")
    if outside.count(b",") > max_values or len(outside) > _BYTES_PER_VALUE * max_values:
        raise _too_many(max_values)
    depth = 0
    for byte in outside:
        if byte in b"[{":
            depth += 1
            if depth > max_depth:
                raise InvalidOption(f"the body nests over {max_depth} deep; see /openapi.json")
        elif byte in b"]}":
            depth -= 1


def _too_many(max_values: int) -> InvalidOption:
    return InvalidOption(
        f"the body has over {max_values} values; send fewer questions in one request",
        max_values=max_values,
    )
