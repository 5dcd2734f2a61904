"""Summaries of a long text's parts: summed up themselves, and kept as a map for later questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glyph_worker.errors import InvalidOption, JobFailed
from glyph_worker.job import Answer
from glyph_worker.render.paginate import paginate
from glyph_worker.segments.excerpt import Excerpt, Span
from glyph_worker.segments.summaries import Summaries, Summary
from glyph_worker.worker.long_asks import LongAsks
from glyph_worker.worker.long_receipt import long_receipt
from glyph_worker.worker.parts import Ask, Parts, Reply, part_options

MAP = "the answers stand nowhere in their parts: the parts' kept summaries were asked together"
SUMMED_UP = "segments were summed up, then their summaries"


class LongSummaries:
    """Of one claimed job."""

    def __init__(self, asks: LongAsks, parts: Parts) -> None:
        self._asks = asks
        self._parts = parts

    def summed_up(self) -> Answer:
        """Raises as LongJob.answer."""
        if not self._asks.reach.weighs_evidence:
            raise InvalidOption(
                "this reader copies answers out of pages and sums nothing up; ask it a question, "
                "or have a larger checkpoint summarize",
                option="task",
            )
        text = self._asks.text
        segments = self._asks.segments(text.normal, text.pages, text.costs)
        options = part_options(self._asks.options, free=True)
        asks = [self._asks.passages([span], options) for span in segments]
        replies = self._parts.answers(asks, num_more=1)
        self._asks.candidates(replies)  # raises where none was answered
        if all(reply.answer is not None for reply in replies):
            self._parts.keep_map(asks)
        summaries = [
            self._summary(reply.answer, reply.ask.span)
            for reply in replies
            if reply.answer is not None
        ]
        everything = list(replies)
        while True:
            joined = Summaries(summaries)
            pages = [laid.page for laid in paginate(joined.text, self._asks.style)]
            costs = self._asks.reach.page_costs(pages)
            last = self._asks.fits(costs)
            spans = [(0, len(joined.text))]
            if not last:
                spans = self._asks.segments(joined.text, pages, costs)
            options = part_options(self._asks.options, free=not last)
            asks = [
                Ask.of(Excerpt.of(joined.text, [span]), self._asks.claimed.question, options)
                for span in spans
            ]
            replies = self._parts.answers(asks, num_more=int(not last))
            everything += replies
            self._asks.candidates(replies)
            made = [
                (reply.answer, joined.traced(reply.answer.citations, reply.ask.span[0]))
                for reply in replies
                if reply.answer is not None
            ]
            if last:
                [(answer, citations)] = made
                receipt = long_receipt(self._asks.claimed, everything, {}, SUMMED_UP)
                return replace(answer, citations=citations, receipt=receipt)
            shorter = [Summary(text=one.text, citations=cited) for one, cited in made]
            if sum(len(one.text) for one in shorter) >= sum(len(one.text) for one in summaries):
                raise JobFailed(
                    f"{len(summaries)} summaries of segments have {len(joined.text)} characters "
                    "and get no shorter when they are summed up; ask for shorter ones "
                    "(max_new_tokens), or use a checkpoint with a longer window",
                    code="summary_too_long",
                )
            summaries = shorter

    def of_kept(self, replies: Sequence[Reply]) -> Answer | None:
        """What the summaries of the document's parts answer, where they are kept and fit: the parts
        gave answers that stand nowhere in them, as to a question about the whole."""
        known = self._parts.known_map()
        if not known:
            return None
        summaries = Summaries([self._summary(answer, span) for span, answer in known])
        pages = [laid.page for laid in paginate(summaries.text, self._asks.style)]
        costs = self._asks.reach.page_costs(pages)
        if not self._asks.fits(costs):
            return None
        options = part_options(self._asks.options, free=False)
        excerpt = Excerpt.of(summaries.text, [(0, len(summaries.text))])
        [reply] = self._parts.answers([Ask.of(excerpt, self._asks.claimed.question, options)])
        if reply.answer is None or reply.answer.found is False:
            return None
        receipt = long_receipt(self._asks.claimed, [*replies, reply], {}, MAP)
        citations = summaries.traced(reply.answer.citations, 0)
        return replace(reply.answer, citations=citations, receipt=receipt)

    def _summary(self, answer: Answer, span: Span) -> Summary:
        excerpt = Excerpt.of(self._asks.text.normal, [span])
        return Summary(
            text=answer.text, citations=tuple(self._asks.cited(answer.citations, excerpt))
        )
