"""Summaries of a document's parts as one text, and what a summary of that cites. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from glyph_worker.proof import Citation
from glyph_worker.render.lines.normalize import normalize

MAX_CITATIONS = 64
"""Of one summary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    text: str
    citations: tuple[Citation, ...]
    """Places of the document."""


class Summaries:
    """In document order, each a paragraph of its own."""

    def __init__(self, parts: Sequence[Summary]) -> None:
        self._parts = parts
        texts = [normalize(one.text.strip()).text for one in parts]
        self.text = "\n\n".join(texts)
        """In normal form."""
        self._starts = [0]
        for text in texts:
            self._starts.append(self._starts[-1] + len(text) + 2)

    def traced(self, citations: Sequence[Citation], shift: int) -> tuple[Citation, ...]:
        """Citations of this text, `shift` characters before where they say, as places of the
        document: those of the summaries that they stand in."""
        found: dict[tuple[int, int, str, int], Citation] = {}
        for one in citations:
            first = bisect_right(self._starts, one.start + shift) - 1
            last = bisect_right(self._starts, one.end + shift - 1) - 1
            for part in self._parts[max(0, first) : last + 1]:
                for own in part.citations:
                    traced = replace(own, answer_start=one.answer_start, answer_end=one.answer_end)
                    key = own.start, own.end, own.document, one.answer_start
                    found.setdefault(key, traced)
        return tuple(found.values())[:MAX_CITATIONS]
