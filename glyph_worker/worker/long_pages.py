"""Pages and sentences of a long text that a question is about, in rounds: what `select` asks."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from glyph_worker.segments.likeliest import Likeliest, passages_of
from glyph_worker.segments.ranking import Ranking, Rankings
from glyph_worker.worker.long_asks import LongAsks
from glyph_worker.worker.parts import Ask, Parts, part_options

SELECT_SHARE = 0.1
"""Of all pages, the most that are asked."""
FIRST_SHARE = 0.03
MIN_SELECTED, MAX_FIRST = 4, 40
"""Pages, whatever their share: all that are asked at least, and the most of the first round. Of ten
megabytes three in a hundred are 355 pages, asked in vain where the first has the answer."""
NUM_CLOSEST = 2
"""Passages of some sentences, counted as pages."""


class LongPages:
    """Of one claimed job."""

    def __init__(self, asks: LongAsks, parts: Parts, rankings: Rankings) -> None:
        self._asks = asks
        self._parts = parts
        self._rankings = rankings

    def rounds(self, *, share: float = FIRST_SHARE) -> Iterator[list[Ask]]:
        """Questions about pages: first the likeliest, then twice as many in each round. `share`: of
        all pages, those of the first round.

        A reader that weighs evidence has a round's pages together, in document order. Another reads
        the better the less it has before it: it has each page alone, and first of all, alone as
        well, the sentences in which the question's words stand closest.
        """
        text, weighs = self._asks.text, self._asks.reach.weighs_evidence
        num_pages = len(text.pages)
        likeliest = self._likeliest()
        ranked = list(likeliest.pages)
        likely = set(ranked)
        ranked += [at for at in range(num_pages) if at not in likely]
        budget = self._asks.budget
        most = max(MIN_SELECTED, int(SELECT_SHARE * num_pages))
        size = max(MIN_SELECTED, min(MAX_FIRST, int(share * num_pages)))
        options = part_options(self._asks.options, free=False)
        closest = [] if weighs else likeliest.passages(NUM_CLOSEST)
        most = min(num_pages, max(MIN_SELECTED, most - len(closest)))
        asks = [self._asks.part([span], options) for span in closest]
        taken = 0
        while taken < most:
            chosen: list[int] = []
            cost = 0
            for at in ranked[taken : min(most, taken + size)]:
                cost += text.costs[at]
                if weighs and chosen and cost > budget:
                    break
                chosen.append(at)
            taken += len(chosen)
            chosen.sort()
            together = [chosen] if weighs else [[at] for at in chosen]
            yield asks + [self._about(pages) for pages in together]
            asks = []
            size *= 2

    def _about(self, pages: Sequence[int]) -> Ask:
        known = self._asks.text.pages
        spans = [(known[at].start, known[at].end) for at in pages]
        return self._asks.part(spans, part_options(self._asks.options, free=False))

    def _likeliest(self) -> Likeliest:
        text = self._asks.text
        ranking = self._rankings.of(
            f"{self._asks.claimed.document_digest} {self._asks.style.digest}",
            lambda: passages_of(text.normal, text.pages),
        )
        question = self._asks.claimed.question
        return Likeliest(text.normal, text.pages, question, ranking, self._by_summaries())

    def _by_summaries(self) -> list[int]:
        """Pages of the parts whose summaries have the question's words, where they are kept."""
        known = self._parts.known_map()
        order = Ranking([answer.text for _, answer in known]).order(self._asks.claimed.question)
        starts = [page.start for page in self._asks.text.pages]
        found: dict[int, None] = {}
        for at in order:
            start, end = known[at][0]
            first = max(0, bisect_right(starts, start) - 1)
            found |= dict.fromkeys(range(first, bisect_left(starts, end)))
        return list(found)
