"""Of several places of one string, the one nearest to the question's words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from glyph_worker.evidence.index import DocumentIndex, Span

BEFORE, AFTER = 1_200, 300
"""Characters around a place that are looked at."""
REACH = 120.0
"""Characters in which a word's weight falls to a third."""
SAME_LINE = 2.0
MAX_PLACES = 100
"""Of one word."""
MAX_WORDS = 24
ONCE = 1 / (1 + math.log1p(1))
"""Weight of a word that stands once."""
_WORD = re.compile(r"[^\W_]+(?:[-_.'’][^\W_]+)*")
EMPTY_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by did do does find for from give has have how in is it its me of "
        "on or please say show tell that the there this to was were what when where which who "
        "whose why with you document text value",
    )
)
"""Of a question, words that say nothing of where its answer stands."""


def nearest(index: DocumentIndex, places: Sequence[Span], question: str) -> Span:
    """The place with most of the question's words around it, rare and close ones first."""
    if len(places) == 1:
        return places[0]
    words = _weighed(index, question)
    return max(places, key=lambda span: (_score(index.text, span, words), -span[0]))


def closeness(index: DocumentIndex, span: Span, question: str) -> float:
    """How much of the question stands around a place: 0, nothing, to 1, every word just before it.

    A word that the document does not have counts as much as one that it has once.
    """
    words = _content(question)
    if not words:
        return 0.0
    known = _weighed(index, question)
    full = sum(weight for _, weight in known) + ONCE * (len(words) - len(known))
    return min(1.0, _score(index.text, span, known) / (SAME_LINE * full))


class Dense(NamedTuple):
    """Where the question's words stand closest."""

    start: int
    end: int
    score: float
    """More of the others, rarer and closer ones count more."""


def densest(index: DocumentIndex, question: str) -> Dense | None:
    """The word of the question's with most of the others around it; None where none stands."""
    words = _weighed(index, question)
    spans = [
        (found.start(), found.end())
        for word, _ in words
        for found in islice(re.finditer(re.escape(word), index.lowered), MAX_PLACES)
    ]
    scored = [Dense(*span, _score(index.text, span, words)) for span in spans]
    return max(scored, key=lambda one: (one.score, -one.start), default=None)


def missing(index: DocumentIndex, question: str) -> float:
    """Share of the question's words that the document does not have: what speaks for an answer
    that says so."""
    words = _content(question)
    return sum(word not in index.lowered for word in words) / len(words) if words else 0.0


def _weighed(index: DocumentIndex, question: str) -> list[tuple[str, float]]:
    """The question's words that say something, rare ones heavier."""
    kept = _content(question)
    counts = [index.lowered.count(word) for word in kept]
    return [
        (word, 1 / (1 + math.log1p(count)))
        for word, count in zip(kept, counts, strict=True)
        if count
    ]


def _content(question: str) -> list[str]:
    words = dict.fromkeys(word.casefold() for word in _WORD.findall(question))
    return [word for word in words if word not in EMPTY_WORDS][:MAX_WORDS]


def _score(text: str, span: Span, words: list[tuple[str, float]]) -> float:
    start, end = span
    low = max(0, start - BEFORE)
    before, after = text[low:start].lower(), text[end : end + AFTER].lower()
    line_start = before.rfind("\n") + 1
    line_end = after.find("\n") if "\n" in after else len(after)
    total = 0.0
    for word, weight in words:
        at, then = before.rfind(word), after.find(word)
        best = 0.0
        if at >= 0:
            distance = len(before) - at - len(word)
            best = math.exp(-distance / REACH) * (SAME_LINE if at >= line_start else 1.0)
        if then >= 0:
            # What names a value stands before it more often than behind it.
            value = 0.7 * math.exp(-then / REACH) * (SAME_LINE if then < line_end else 0.5)
            best = max(best, value)
        total += weight * best
    return total
