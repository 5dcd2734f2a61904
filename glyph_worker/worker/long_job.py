"""A document beyond the window: its parts are asked, one answer is made of theirs. Draws nothing.

It runs on render workers, from the top after every wake: whatever was answered is found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glyph_worker.job import Answer
from glyph_worker.render.style.style import Style
from glyph_worker.segments.candidates import RULE, SUPPORTED, Candidate, best
from glyph_worker.segments.cut import TokenScale
from glyph_worker.segments.excerpt import Span, around
from glyph_worker.segments.ranking import Rankings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.worker.long_asks import LongAsks, LongText
from glyph_worker.worker.long_pages import LongPages
from glyph_worker.worker.long_receipt import long_receipt
from glyph_worker.worker.long_summaries import LongSummaries
from glyph_worker.worker.parts import Ask, Parts, Reply, part_options
from glyph_worker.worker.reach import Reach

EVIDENCE = "the passages around the segments' answers were drawn together and asked again"
SELECTED = (
    "pages by BM25, of text and of kept summaries, in document order; of several answers " + RULE
)
MOST_PASSAGE, LEAST_PASSAGE = 4_000, 300
"""Characters of a passage around an answer's place."""


class LongJob:
    def __init__(
        self,
        claimed: ClaimedJob,
        text: LongText,
        parts: Parts,
        *,
        style: Style,
        reach: Reach,
        rankings: Rankings,
    ) -> None:
        self._asks = LongAsks(claimed, text, style, reach)
        self._pages = LongPages(self._asks, parts, rankings)
        self._summaries = LongSummaries(self._asks, parts)
        self._parts = parts

    def answer(self) -> Answer:
        """Raises Parked while parts are to end; JobFailed where none could be read; InvalidOption
        for a summary by a model that makes none; Fenced, Cancelled."""
        if self._asks.options.task == "summarize":
            return self._summaries.summed_up()
        if self._asks.options.overflow == "select":
            return self._selected()
        return self._whole()

    def _whole(self) -> Answer:
        text, weighs = self._asks.text, self._asks.reach.weighs_evidence
        options = part_options(self._asks.options, free=weighs)
        segments = self._asks.segments(text.normal, text.pages, text.costs)
        asks = [self._asks.part([span], options) for span in segments]
        if not weighs:
            asks += next(self._pages.rounds(share=0.0))
        replies = self._parts.answers(asks, num_more=int(weighs))
        found = self._asks.candidates(replies)
        if weighs and len({one.answer.text.strip() for one in found.values()}) > 1:
            evidence = self._evidence(list(found.values()), replies)
            if evidence is not None:
                [reply] = self._parts.answers([evidence])
                if reply.answer is not None and reply.answer.found is not False:
                    return self._made(reply, [*replies, reply], found, EVIDENCE)
            elif (whole := self._summaries.of_kept(replies)) is not None:
                return whole
        return self._best(replies, found, RULE)

    def _evidence(self, found: Sequence[Candidate], replies: Sequence[Reply]) -> Ask | None:
        """The passages around all answers' places, the best supported first where not all fit."""
        placed = sorted(
            (one for one in found if one.place is not None), key=lambda one: -one.support
        )
        if not placed:
            return None
        text, budget = self._asks.text, self._asks.budget
        normal, scale = text.normal, TokenScale(text.pages, text.costs)
        per_token = max(1.0, len(normal) / max(1, scale.total))
        num_chars = int(budget * per_token / len(placed))
        num_chars = max(LEAST_PASSAGE, min(MOST_PASSAGE, num_chars))
        spans: list[Span] = []
        left = float(budget)
        for one in placed:
            assert one.place is not None
            place = replies[one.number].ask.excerpt.back(one.place)
            span = around(normal, place, num_chars=num_chars)
            left -= scale.tokens(span[1]) - scale.tokens(span[0])
            if left < 0 and spans:
                break
            spans.append(span)
        return self._asks.passages(spans, part_options(self._asks.options, free=False))

    def _selected(self) -> Answer:
        replies: list[Reply] = []
        for asks in self._pages.rounds():
            replies += self._parts.answers(asks)
            chosen = best(list(self._asks.candidates(replies).values()))
            if chosen is not None and chosen.support >= SUPPORTED:
                break
        return self._best(replies, self._asks.candidates(replies), SELECTED)

    def _best(self, replies: Sequence[Reply], found: dict[int, Candidate], rule: str) -> Answer:
        chosen = best(list(found.values()))
        if chosen is not None:
            return self._made(replies[chosen.number], replies, found, rule)
        # None has it: what the surest of them says.
        read = [reply for reply in replies if reply.answer is not None]
        return self._made(max(read, key=_sureness), replies, found, rule)

    def _made(
        self,
        reply: Reply,
        replies: Sequence[Reply],
        found: dict[int, Candidate],
        rule: str,
    ) -> Answer:
        """A reply's answer as the whole document's."""
        answer = reply.answer
        assert answer is not None
        return replace(
            answer,
            citations=tuple(self._asks.cited(answer.citations, reply.ask.excerpt)),
            receipt=long_receipt(self._asks.claimed, replies, found, rule),
        )


def _sureness(reply: Reply) -> float:
    answer = reply.answer
    assert answer is not None
    if answer.confidence is not None:
        return answer.confidence
    return answer.mean_log_prob if answer.mean_log_prob is not None else float("-inf")
