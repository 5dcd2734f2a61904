"""Whole documents with questions, drawn from a seed. Text only: nothing is rendered here."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from train import clauses, layouts, questions
from train.document_draft import Draft, place
from train.sample import Sample
from train.words import Words

# How many sentences of a document name a field without its value, by lot.
EXAM, LESSON = (0, 0, 1, 1, 2, 3), (0, 1, 1, 2, 3, 4)


def write(words: Words, lines: int) -> Draft:
    """A draft of roughly the given number of source lines."""
    rng = words.rng
    draft = Draft()
    makers, exam, lesson = zip(*layouts.SECTIONS, strict=True)
    seams = []
    while len(draft.lines) < lines:
        seams.append(len(draft.lines))
        room = lines - len(draft.lines)
        if room > 2 and rng.random() < 0.4:
            layouts.furniture(draft, words)
            continue
        maker = rng.choices(makers, exam if words.test else lesson)[0]
        count = min(room, rng.randint(1, 10))
        if words.test:
            maker(draft, words, count)
        else:
            layouts.mixed(draft, words, maker, count)
    mentioned = rng.choice(EXAM if words.test else LESSON)
    for seam in sorted(rng.choices(seams, k=mentioned), reverse=True):
        clauses.mention(draft, words, seam)
    return draft


def compose(
    rng: Random, *, lines: int, asked: int, test: bool = False, max_pages: int = 1
) -> Sample:
    """A document that fits its pages, with about `asked` questions. A `test` has held-out words,
    and its shares (`EXAM`, here and where layouts, names and questions are drawn) do not dwell on
    what is hard."""
    words = Words(rng, test=test)
    while True:
        draft = write(words, lines)
        placed = place(draft.lines)
        if not 0 < len(placed.pages) <= max_pages:
            lines = max(1, lines - 1)
            continue
        found = questions.ask(words, draft, placed, asked)
        if found:
            text = "\n".join(draft.lines)
            return Sample(pages=placed.pages, text=text, questions=found)


def samples(
    seed: str, *, low: int, high: int, asked: int, test: bool = False, max_pages: int = 1
) -> Iterator[Sample]:
    """An endless stream of documents of `low` to `high` lines a page."""
    rng = Random(seed)
    while True:
        lines = rng.randint(low, high) * (max_pages if max_pages > 1 else 1)
        yield compose(rng, lines=lines, asked=asked, test=test, max_pages=max_pages)
