"""The answers of segments → the one that the text supports best. The rule, and nothing else.

It is for models that cannot weigh evidence themselves: of every answer that was found, how sure the
model was (its calibrated confidence, or the mean probability of its tokens) times how much of the
question stands around the place where the answer stands. An answer that stands nowhere, or only
repeats the question, counts next to nothing. Segments that give the same answer are counted, and
decide between equals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from glyph_worker.evidence.fold import fold_text
from glyph_worker.evidence.index import DocumentIndex
from glyph_worker.evidence.nearness import closeness
from glyph_worker.job import Answer
from glyph_worker.segments.excerpt import Span

RULE = "the model's confidence times the share of the question's words around the answer's place"
PLACELESS = 0.05
"""Closeness of an answer that stands nowhere, or says only what the question says."""
SUPPORTED = 0.3
"""Support from which nothing further is asked: confidence and closeness above a half each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    number: int
    """Of the segment, from 0."""
    answer: Answer
    place: Span | None
    """Where its first citation stands, in characters of the segment; None: nowhere."""
    support: float
    """By RULE, 0 to 1."""


def candidate(number: int, answer: Answer, text: str, question: str) -> Candidate | None:
    """What a segment (its `text` in normal form) says; None where it says that it has nothing."""
    if answer.found is False or not answer.text.strip():
        return None
    sure = answer.confidence
    if sure is None:
        sure = math.exp(min(0.0, answer.mean_log_prob or 0.0))
    place = None
    if answer.citations:
        place = answer.citations[0].start, answer.citations[0].end
    near = PLACELESS
    repeats = fold_text(answer.text.strip()) in fold_text(question)
    if place is not None and not repeats:
        near = max(PLACELESS, closeness(DocumentIndex(text), place, question))
    return Candidate(number=number, answer=answer, place=place, support=round(sure * near, 4))


def best(found: Sequence[Candidate]) -> Candidate | None:
    """The one with most support; of equals that which most segments give, then the first."""
    if not found:
        return None
    votes = Counter(fold_text(one.answer.text.strip()) for one in found)
    return max(
        found,
        key=lambda one: (one.support, votes[fold_text(one.answer.text.strip())], -one.number),
    )
