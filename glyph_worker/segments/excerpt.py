"""Passages of a text as a document of its own, and its places back in that text. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from glyph_worker.document import PART_END

_ENDS = re.compile(rf"[\n{PART_END}]|[.!?]\s")

Span = tuple[int, int]
"""Half-open range of characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Excerpt:
    """Spans of a text in its order, none touching another; each is a part of the new document, so
    that pages which were drawn for the whole are drawn alike."""

    spans: tuple[Span, ...]
    text: str

    @classmethod
    def of(cls, text: str, spans: Iterable[Span]) -> Excerpt:
        """Spans that touch or overlap become one; marks of parts in the text are kept."""
        merged: list[Span] = []
        for start, end in sorted(spans):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            elif start < end:
                merged.append((start, end))
        return cls(
            spans=tuple(merged), text=PART_END.join(text[start:end] for start, end in merged)
        )

    def back(self, span: Span) -> Span:
        """The characters of the whole text that these of the excerpt are; of a place that goes on
        over two passages, its beginning."""
        begins = [0]
        for start, end in self.spans:
            begins.append(begins[-1] + end - start + 1)
        at = max(0, min(bisect_right(begins, span[0]) - 1, len(self.spans) - 1))
        start, end = self.spans[at]
        shift = start - begins[at]
        return min(span[0] + shift, end), min(span[1] + shift, end)


def sentences(text: str, span: Span, *, num_chars: int) -> Span:
    """A passage of some `num_chars` characters about a place, from one end of a line or sentence to
    another, or from space to space."""
    room = max(0, num_chars - (span[1] - span[0])) // 2
    low, high = max(0, span[0] - room), min(len(text), span[1] + room)
    low = max(low, text.rfind(PART_END, low, span[0]) + 1)
    if (part := text.find(PART_END, span[1], high)) >= 0:
        high = part
    if low and (ends := [found.end() for found in _ENDS.finditer(text, low, span[0])]):
        low = ends[0]
    elif low and (space := text.find(" ", low, span[0])) >= 0:
        low = space + 1
    if high < len(text) and (ends := [one.end() for one in _ENDS.finditer(text, span[1], high)]):
        high = ends[-1]
    elif high < len(text) and (space := text.rfind(" ", span[1], high)) >= 0:
        high = space
    return low, high


def around(text: str, span: Span, *, num_chars: int) -> Span:
    """A passage of some `num_chars` characters about a place, of whole lines, within its part."""
    room = max(0, num_chars - (span[1] - span[0])) // 2
    low, high = max(0, span[0] - room), min(len(text), span[1] + room)
    low = max(low, text.rfind(PART_END, low, span[0]) + 1)
    if (part := text.find(PART_END, span[1], high)) >= 0:
        high = part
    if low and text[low - 1] not in ("\n", PART_END):
        line = text.find("\n", low, span[0]) + 1
        low = line or text.rfind("\n", 0, span[0]) + 1
    if high < len(text) and text[high : high + 1] not in ("\n", PART_END):
        line = text.rfind("\n", span[1], high)
        high = line if line >= 0 else (text.find("\n", span[1]) + 1 or len(text) + 1) - 1
    return low, high
