"""Questions about parts of a job's text: what each is asked, and where what it cites stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from glyph_worker.document import PART_END, Page
from glyph_worker.evidence.boxes import PageMap
from glyph_worker.evidence.original import Original
from glyph_worker.evidence.sources import in_its_document, longest_told, spans_told
from glyph_worker.job_options import JobOptions
from glyph_worker.proof import Citation
from glyph_worker.render.style.style import Style
from glyph_worker.segments.candidates import Candidate, candidate
from glyph_worker.segments.cut import TokenScale, cut
from glyph_worker.segments.excerpt import Excerpt, Span
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.worker.parts import Ask, Reply
from glyph_worker.worker.reach import Reach

ONLY_A_PART = (
    "\n(The pages are a part of a longer document. If they do not have the answer, say only: not "
    "found.)"
)
"""What a reader that can be told, and has no words of its own for it, is told with a segment's
question. Nothing of the other segments: an edit elsewhere leaves the question, and so its answer,
as it was."""


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


class LongAsks:
    """Of one claimed job."""

    def __init__(self, claimed: ClaimedJob, text: LongText, style: Style, reach: Reach) -> None:
        self.claimed = claimed
        self.text = text
        self.style = style
        self.reach = reach
        self.options = claimed.options
        told = longest_told(claimed.document_names) if reach.weighs_evidence else ""
        self._longest_question = told + claimed.question

    @property
    def budget(self) -> int:
        """Tokens of the pages that are asked about at once."""
        return self._budget(self.text.costs)

    def fits(self, costs: Sequence[int]) -> bool:
        """Whether pages of these costs can be asked about at once."""
        return self.reach.fits(costs, self._longest_question, self.options)

    def segments(self, text: str, pages: Sequence[Page], costs: Sequence[int]) -> list[Span]:
        """Parts of a text that can be asked about."""
        found = cut(text, TokenScale(pages, costs), max_tokens=self._budget(costs))
        return [(one.start, one.end) for one in found]

    def part(self, spans: Iterable[Span], options: JobOptions) -> Ask:
        """The job's question about passages; a reader that can be told is told that they are a part
        of more."""
        ask = self.passages(spans, options)
        if self.reach.weighs_evidence and not self.reach.says_not_found:
            return Ask.of(ask.excerpt, ask.question + ONLY_A_PART, options)
        return ask

    def passages(self, spans: Iterable[Span], options: JobOptions) -> Ask:
        """The job's question about passages, as if they were all there is."""
        excerpt = Excerpt.of(self.text.normal, _trimmed(self.text.normal, spans))
        told = ""
        if self.reach.weighs_evidence:  # another knows questions alone
            names = self.claimed.document_names
            told = spans_told(self.text.normal, excerpt.spans, names)
        return Ask.of(excerpt, told + self.claimed.question, options)

    def candidates(self, replies: Sequence[Reply]) -> dict[int, Candidate]:
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
                    number, reply.answer, reply.ask.document.text, self.claimed.question
                )
                if one is not None:
                    found[number] = one
        return found

    def cited(self, citations: Sequence[Citation], excerpt: Excerpt) -> Iterator[Citation]:
        """Citations of an excerpt as the whole document's."""
        text = self.text
        page_map = PageMap(text.normal, self.style, text.pages)
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
            yield in_its_document(whole, text.given.text, self.claimed.document_names)

    def _budget(self, costs: Sequence[int]) -> int:
        return self.reach.segment_tokens(costs, self._longest_question, self.options)


def _trimmed(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Pages without the marks of parts at their ends: joined again, each has its own."""
    for start, end in spans:
        while start < end and text[end - 1] == PART_END:
            end -= 1
        while start < end and text[start] == PART_END:
            start += 1
        yield start, end
