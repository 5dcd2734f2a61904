"""Documents in which an answer stands once, or two to five times under other names: where it is
meant is known, for the corpus that the reader learned from says which cells each answer stands in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from train.corpus import samples
from train.sample import Question

from glyph_worker.evidence.index import DocumentIndex, Span
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style

STYLE = preset_style("nano")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question whose answer stands `number` times; `place` is the one it asks for."""

    text: str
    question: str
    answer: str
    place: Span
    number: int


def asked(seed: str, documents: int) -> Iterator[Asked]:
    """Both kinds, as they come: from each document what stands once, and one repeated string."""
    rng = Random(f"repeat {seed}")
    source = samples(f"places {seed}", low=16, high=28, asked=14, test=True, max_pages=2)
    for _ in range(documents):
        sample = next(source)
        pagination = paginate(sample.text, STYLE)
        pages = list(pagination)
        text = pagination.normalized.text
        facts = [
            (question, span)
            for question in sample.questions
            if question.task == "lookup" and (span := _span(question, pages, text)) is not None
        ]
        for question, span in facts:
            if _count(text, question.answer) == 1:
                yield Asked(
                    text=text, question=question.text, answer=question.answer, place=span, number=1
                )
        yield from _repeated(rng, text, facts)


def _span(question: Question, pages: list[LaidPage], text: str) -> Span | None:
    cell = question.where[0] if question.where else None
    if cell is None or cell[0] >= len(pages) or cell[1] >= len(pages[cell[0]].lines):
        return None
    start = pages[cell[0]].lines[cell[1]].offset_of(cell[2])
    end = start + len(question.answer)
    return (start, end) if text[start:end] == question.answer else None


def _repeated(rng: Random, text: str, facts: list[tuple[Question, Span]]) -> Iterator[Asked]:
    """One answer put in place of one to four others: two values that happen to be the same."""
    if len(facts) < 2:
        return
    question, span = rng.choice(facts)
    others = [other for _, other in facts if other[1] <= span[0] or span[1] <= other[0]]
    others = sorted(set(others))
    rng.shuffle(others)
    taken: list[Span] = []
    for other in others:
        if all(other[1] <= one[0] or one[1] <= other[0] for one in taken):
            taken.append(other)
    taken = taken[: rng.randint(1, 4)]
    start = span[0]
    for other in sorted(taken, reverse=True):
        text = text[: other[0]] + question.answer + text[other[1] :]
        if other[0] < span[0]:
            start += len(question.answer) - (other[1] - other[0])
    number = _count(text, question.answer)
    if 2 <= number <= 5:
        yield Asked(
            text=text,
            question=question.text,
            answer=question.answer,
            place=(start, start + len(question.answer)),
            number=number,
        )


def _count(text: str, answer: str) -> int:
    return sum(1 for _ in DocumentIndex(text).exact(answer))
