"""Which pages a question is about, and which sentences of them. Pure.

BM25 knows words and not where they stand; of the pages that it finds, those where the question's
words stand close together come first.
"""

from __future__ import annotations

from collections.abc import Sequence

from glyph_worker.document import Page
from glyph_worker.evidence.index import DocumentIndex
from glyph_worker.evidence.nearness import densest
from glyph_worker.segments.excerpt import Span, sentences
from glyph_worker.segments.ranking import Ranking, fused

MARGIN = 200
"""Characters of both neighbours that a page is ranked with: a sentence may go on over two."""
RERANKED = 40
"""Pages of which the words' places are looked at."""
CLOSEST_CHARS = 320
"""Of a passage."""


def passages_of(text: str, pages: Sequence[Page]) -> list[str]:
    """What pages are ranked by."""
    return [text[start:end] for start, end in (_widened(text, page) for page in pages)]


class Likeliest:
    """Of one text and one question."""

    def __init__(
        self,
        text: str,
        pages: Sequence[Page],
        question: str,
        ranking: Ranking,
        mapped: Sequence[int] = (),
    ) -> None:
        """`ranking` is of `passages_of` these pages; `mapped`: pages in the order that something
        else leads to."""
        self._text = text
        found = ranking.order(question)
        self._places: dict[int, Span] = {}
        scores: dict[int, float] = {}
        for at in found[:RERANKED]:
            start, end = _widened(text, pages[at])
            dense = densest(DocumentIndex(text[start:end]), question)
            if dense is not None:
                scores[at] = dense.score
                self._places[at] = start + dense.start, start + dense.end
        dense_first = sorted(scores, key=lambda at: -scores[at])
        # Twice: where the words stand together says more than how many there are.
        self.pages = fused(dense_first, dense_first, found, mapped)
        """Those that anything leads to, the likeliest first."""

    def passages(self, number: int) -> list[Span]:
        """The sentences of so many pages at most in which the question's words stand closest."""
        spans: list[Span] = []
        for at in self.pages:
            if len(spans) == number:
                break
            if at in self._places:
                span = sentences(self._text, self._places[at], num_chars=CLOSEST_CHARS)
                if not any(span[0] < end and start < span[1] for start, end in spans):
                    spans.append(span)
        return spans


def _widened(text: str, page: Page) -> Span:
    return max(0, page.start - MARGIN), min(len(text), page.end + MARGIN)
