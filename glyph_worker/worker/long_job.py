"""A document beyond the window: its parts are asked, one answer is made of theirs. Draws nothing.

It runs on render workers, from the top after every wake: whatever was answered is found again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from glyph_worker.document import PART_END, Page
from glyph_worker.errors import InvalidOption, JobFailed
from glyph_worker.evidence.boxes import PageMap
from glyph_worker.evidence.original import Original
from glyph_worker.evidence.sources import in_its_document, longest_told, spans_told
from glyph_worker.job import Answer
from glyph_worker.job_options import JobOptions
from glyph_worker.proof import Citation
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.style import Style
from glyph_worker.segments.candidates import RULE, SUPPORTED, Candidate, best, candidate
from glyph_worker.segments.cut import TokenScale, cut
from glyph_worker.segments.excerpt import Excerpt, Span, around
from glyph_worker.segments.likeliest import Likeliest, passages_of
from glyph_worker.segments.ranking import Ranking, Rankings
from glyph_worker.segments.summaries import Summaries, Summary
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.worker.long_receipt import long_receipt
from glyph_worker.worker.parts import Ask, Parts, Reply, part_options
from glyph_worker.worker.reach import Reach

ONLY_A_PART = (
    "\n(The pages are a part of a longer document. If they do not have the answer, say only: not "
    "found.)"
)
"""What a reader that can be told, and has no words of its own for it, is told with a segment's
question. Nothing of the other segments:
an edit elsewhere leaves the question, and so its answer, as it was."""
EVIDENCE = "the passages around the segments' answers were drawn together and asked again"
MAP = "the answers stand nowhere in their parts: the parts' kept summaries were asked together"
SUMMED_UP = "segments were summed up, then their summaries"
SELECTED = (
    "pages by BM25, of text and of kept summaries, in document order; of several answers " + RULE
)
MOST_PASSAGE, LEAST_PASSAGE = 4_000, 300
"""Characters of a passage around an answer's place."""
SELECT_SHARE = 0.1
"""Of all pages, the most that `select` asks."""
FIRST_SHARE = 0.03
MIN_SELECTED = 4
"""Pages, whatever their share."""
NUM_CLOSEST = 2
"""Passages of some sentences, counted as pages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LongText:
    """A job's text in normal form, laid out."""

    given: Original
    pages: tuple[Page, ...]
    costs: tuple[int, ...]
    """Tokens of each page."""

    @property
    def normal(self) -> str:
        return self.given.normal


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
        self._claimed = claimed
        self._text = text
        self._parts = parts
        self._style = style
        self._reach = reach
        self._rankings = rankings
        self._options = claimed.options
        told = longest_told(claimed.document_names) if reach.weighs_evidence else ""
        self._longest_question = told + claimed.question

    def answer(self) -> Answer:
        """Raises Parked while parts are to end; JobFailed where none could be read; InvalidOption
        for a summary by a model that makes none; Fenced, Cancelled."""
        if self._options.task == "summarize":
            return self._summarized()
        if self._options.overflow == "select":
            return self._selected()
        return self._whole()

    # Every segment -------------------------------------------------------------------------------

    def _whole(self) -> Answer:
        text, reach = self._text, self._reach
        scale = TokenScale(text.pages, text.costs)
        budget = reach.segment_tokens(text.costs, self._longest_question, self._options)
        segments = self._cut(text.normal, scale, text.costs)
        weighs = reach.weighs_evidence
        options = part_options(self._options, free=weighs)
        asks = [self._part([span], options) for span in segments]
        if not weighs:
            asks += next(self._rounds(share=0.0))
        replies = self._parts.answers(asks, num_more=int(weighs))
        found = self._candidates(replies)
        if weighs and len({one.answer.text.strip() for one in found.values()}) > 1:
            evidence = self._evidence(list(found.values()), replies, scale, budget)
            if evidence is not None:
                [reply] = self._parts.answers([evidence])
                if reply.answer is not None and reply.answer.found is not False:
                    return self._made(reply, [*replies, reply], found, EVIDENCE)
            elif (whole := self._of_summaries(replies)) is not None:
                return whole
        return self._best(replies, found, RULE)

    def _evidence(
        self,
        found: Sequence[Candidate],
        replies: Sequence[Reply],
        scale: TokenScale,
        budget: int,
    ) -> Ask | None:
        """The passages around all answers' places, the best supported first where not all fit."""
        placed = sorted(
            (one for one in found if one.place is not None), key=lambda one: -one.support
        )
        if not placed:
            return None
        normal = self._text.normal
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
        options = part_options(self._options, free=False)
        excerpt = Excerpt.of(normal, spans)
        return Ask.of(excerpt, self._told(excerpt) + self._claimed.question, options)

    def _of_summaries(self, replies: Sequence[Reply]) -> Answer | None:
        """What the summaries of the document's parts answer, where they are kept and fit: the parts
        gave answers that stand nowhere in them, as to a question about the whole."""
        known = self._parts.known_map()
        if not known:
            return None
        summaries = Summaries([self._summary(answer, span) for span, answer in known])
        pages = [laid.page for laid in paginate(summaries.text, self._style)]
        costs = self._reach.page_costs(pages)
        if not self._reach.fits(costs, self._longest_question, self._options):
            return None
        options = part_options(self._options, free=False)
        excerpt = Excerpt.of(summaries.text, [(0, len(summaries.text))])
        [reply] = self._parts.answers([Ask.of(excerpt, self._claimed.question, options)])
        if reply.answer is None or reply.answer.found is False:
            return None
        receipt = long_receipt(self._claimed, [*replies, reply], {}, MAP)
        citations = summaries.traced(reply.answer.citations, 0)
        return replace(reply.answer, citations=citations, receipt=receipt)

    def _summary(self, answer: Answer, span: Span) -> Summary:
        excerpt = Excerpt.of(self._text.normal, [span])
        return Summary(text=answer.text, citations=tuple(self._cited(answer.citations, excerpt)))

    # A selection of pages ------------------------------------------------------------------------

    def _selected(self) -> Answer:
        replies: list[Reply] = []
        for asks in self._rounds(share=FIRST_SHARE):
            replies += self._parts.answers(asks)
            chosen = best(list(self._candidates(replies).values()))
            if chosen is not None and chosen.support >= SUPPORTED:
                break
        return self._best(replies, self._candidates(replies), SELECTED)

    def _selection(self, pages: Sequence[int]) -> Ask:
        normal = self._text.normal
        spans = [(self._text.pages[at].start, self._text.pages[at].end) for at in pages]
        return self._part(_trimmed(normal, spans), part_options(self._options, free=False))

    def _part(self, spans: Iterable[Span], options: JobOptions) -> Ask:
        reach = self._reach
        excerpt = Excerpt.of(self._text.normal, spans)
        question = self._told(excerpt) + self._claimed.question
        if reach.weighs_evidence and not reach.says_not_found:
            question += ONLY_A_PART
        return Ask.of(excerpt, question, options)

    def _told(self, excerpt: Excerpt) -> str:
        """Of several documents, which the excerpt is of; nothing to a reader that knows questions
        alone."""
        if not self._reach.weighs_evidence:
            return ""
        return spans_told(self._text.normal, excerpt.spans, self._claimed.document_names)

    def _rounds(self, *, share: float) -> Iterator[list[Ask]]:
        """Questions about pages: first the likeliest, then as many again. `share`: of all pages,
        those of one round.

        A reader that weighs evidence has a round's pages together, in document order. Another reads
        the better the less it has before it: it has each page alone, and first of all, alone as
        well, the sentences in which the question's words stand closest.
        """
        text, weighs = self._text, self._reach.weighs_evidence
        num_pages = len(text.pages)
        ranked = list(self._likeliest.pages)
        likely = set(ranked)
        ranked += [at for at in range(num_pages) if at not in likely]
        budget = self._reach.segment_tokens(text.costs, self._longest_question, self._options)
        most = max(MIN_SELECTED, int(SELECT_SHARE * num_pages))
        size = max(MIN_SELECTED, int(share * num_pages))
        options = part_options(self._options, free=False)
        closest = [] if weighs else self._likeliest.passages(NUM_CLOSEST)
        most = max(MIN_SELECTED, most - len(closest))
        asks = [self._part([span], options) for span in closest]
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
            yield asks + [self._selection(pages) for pages in together]
            asks = []

    @cached_property
    def _likeliest(self) -> Likeliest:
        text = self._text
        ranking = self._rankings.of(
            f"{self._claimed.document_digest} {self._style.digest}",
            lambda: passages_of(text.normal, text.pages),
        )
        question = self._claimed.question
        return Likeliest(text.normal, text.pages, question, ranking, self._by_summaries())

    def _by_summaries(self) -> list[int]:
        """Pages of the parts whose summaries have the question's words, where they are kept."""
        known = self._parts.known_map()
        order = Ranking([answer.text for _, answer in known]).order(self._claimed.question)
        starts = [page.start for page in self._text.pages]
        found: dict[int, None] = {}
        for at in order:
            start, end = known[at][0]
            first = max(0, bisect_right(starts, start) - 1)
            found |= dict.fromkeys(range(first, bisect_left(starts, end)))
        return list(found)

    # Summaries -----------------------------------------------------------------------------------

    def _summarized(self) -> Answer:
        if not self._reach.weighs_evidence:
            raise InvalidOption(
                "this reader copies answers out of pages and sums nothing up; ask it a question, "
                "or have a larger checkpoint summarize",
                option="task",
            )
        text = self._text
        segments = self._cut(text.normal, TokenScale(text.pages, text.costs), text.costs)
        options = part_options(self._options, free=True)
        asks = [
            Ask.of(excerpt, self._told(excerpt) + self._claimed.question, options)
            for excerpt in (Excerpt.of(text.normal, [span]) for span in segments)
        ]
        replies = self._parts.answers(asks, num_more=1)
        self._candidates(replies)  # raises where none was answered
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
            pages = [laid.page for laid in paginate(joined.text, self._style)]
            costs = self._reach.page_costs(pages)
            last = self._reach.fits(costs, self._claimed.question, self._options)
            spans = [(0, len(joined.text))]
            if not last:
                spans = self._cut(joined.text, TokenScale(pages, costs), costs)
            options = part_options(self._options, free=not last)
            asks = [
                Ask.of(Excerpt.of(joined.text, [span]), self._claimed.question, options)
                for span in spans
            ]
            replies = self._parts.answers(asks, num_more=int(not last))
            everything += replies
            self._candidates(replies)
            made = [
                (reply.answer, joined.traced(reply.answer.citations, reply.ask.span[0]))
                for reply in replies
                if reply.answer is not None
            ]
            if last:
                [(answer, citations)] = made
                receipt = long_receipt(self._claimed, everything, {}, SUMMED_UP)
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

    def _cut(self, text: str, scale: TokenScale, costs: Sequence[int]) -> list[Span]:
        budget = self._reach.segment_tokens(costs, self._longest_question, self._options)
        return [(one.start, one.end) for one in cut(text, scale, max_tokens=budget)]

    # One answer ----------------------------------------------------------------------------------

    def _candidates(self, replies: Sequence[Reply]) -> dict[int, Candidate]:
        """By the number of their reply. Raises JobFailed where no part was answered at all."""
        read = [reply for reply in replies if reply.answer is not None]
        if not read:
            error = replies[0].error
            assert error is not None
            raise error
        found = {}
        for number, reply in enumerate(replies):
            if reply.answer is not None:
                one = candidate(
                    number, reply.answer, reply.ask.document.text, self._claimed.question
                )
                if one is not None:
                    found[number] = one
        return found

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
            citations=tuple(self._cited(answer.citations, reply.ask.excerpt)),
            receipt=long_receipt(self._claimed, replies, found, rule),
        )

    def _cited(self, citations: Sequence[Citation], excerpt: Excerpt) -> Iterator[Citation]:
        text = self._text
        page_map = PageMap(text.normal, self._style, text.pages)
        for one in citations:
            place = excerpt.back((one.start, one.end))
            start, end = text.given.span(place)
            whole = replace(
                one,
                start=start,
                end=end,
                text=text.given.text[start:end],
                page=page_map.page_of(place),
                boxes=page_map.boxes(place),
            )
            yield in_its_document(whole, text.given.text, self._claimed.document_names)


def _sureness(reply: Reply) -> float:
    answer = reply.answer
    assert answer is not None
    if answer.confidence is not None:
        return answer.confidence
    return answer.mean_log_prob if answer.mean_log_prob is not None else float("-inf")


def _trimmed(text: str, spans: Sequence[Span]) -> Iterator[Span]:
    """Pages without the marks of parts at their ends: joined again, each has its own."""
    for start, end in spans:
        while start < end and text[end - 1] == PART_END:
            end -= 1
        while start < end and text[start] == PART_END:
            start += 1
        yield start, end
