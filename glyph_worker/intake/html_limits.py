"""Markup whose tree would cost the square of its length is made harmless before it is parsed.

The HTML standard itself is quadratic in three places: every block asks all open elements for a `p`
to close, every paragraph opens again each formatting element that was left open, and every
attribute is compared with its tag's others. Browsers cut the first at a depth of 512. Pages that
people write come nowhere near; they pass untouched.
"""

from __future__ import annotations

import re

MAX_DEPTH = 512
"""Elements open at once; deeper ones lose their tags and keep their text."""
MAX_FORMATTING = 64
"""Formatting elements open at once; a page with more has them as plain spans."""

MAX_ATTRIBUTES = 512
"""Attributes of one tag; the rest are dropped."""

_LONG = 3_000
"""Characters: a shorter tag has no more attributes than that makes."""
_WHOLE_TAG = re.compile(r"<[a-zA-Z](?:[^>=]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+")
_ATTRIBUTE = re.compile(r"[^\s/=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s]*+))?+|=")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)(?=[\s/>]|$)")
_FORMATTING = frozenset(
    {"a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt",
     "u"}
)  # fmt: skip
_NEVER_OPEN = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
     "wbr", "html", "head", "body", "p", "li", "dt", "dd", "option", "optgroup", "tr", "td", "th",
     "thead", "tbody", "tfoot", "caption", "colgroup", "rt", "rp"}
)  # fmt: skip


def tamed(markup: str) -> str:
    """The same text in a tree that can be built in linear time."""
    markup = _WHOLE_TAG.sub(_few_attributes, markup)
    if not _is_wild(markup):
        return markup
    depth = dropped = 0

    def shallow(tag: re.Match[str]) -> str:
        nonlocal depth, dropped
        slash, name = tag[1], tag[2].lower()
        if name in _FORMATTING:
            name = "span"
        if name in _NEVER_OPEN:
            return tag[0]
        if not slash:
            depth += 1
            if depth - dropped > MAX_DEPTH:
                dropped += 1
                return "<wbr"
        elif depth:
            depth -= 1
            if dropped:
                dropped -= 1
                return "<wbr"
        return f"<{slash}{name}"

    return _TAG.sub(shallow, markup)


def _few_attributes(tag: re.Match[str]) -> str:
    whole = tag[0]
    if len(whole) > _LONG:
        for number, attribute in enumerate(_ATTRIBUTE.finditer(whole)):
            if number > MAX_ATTRIBUTES:
                return whole[: attribute.start()]
    return whole


def _is_wild(markup: str) -> bool:
    depth = formatting = 0
    for tag in _TAG.finditer(markup):
        name = tag[2].lower()
        if name in _NEVER_OPEN:
            continue
        step = -1 if tag[1] else 1
        depth = max(0, depth + step)
        if name in _FORMATTING:
            formatting = max(0, formatting + step)
        if depth > MAX_DEPTH or formatting > MAX_FORMATTING:
            return True
    return False
