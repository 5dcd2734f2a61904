"""Which of several documents characters and pages are of: for citations, and to tell the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from glyph_worker.document import PART_END, Page
from glyph_worker.proof import Citation

MAX_TOLD_CHARS = 4_000
"""Of names told to a model; longer ones are not."""


def pages_told(text: str, pages: Sequence[Page], names: Sequence[str]) -> str:
    """A line that tells which pages of a text, in normal form, are of which document; '' for one
    document, whose prompt has nothing beside its question."""
    if len(names) < 2:
        return ""
    runs: dict[int, list[int]] = {}
    at = number = 0
    for page in pages:
        number += text.count(PART_END, at, page.start)
        at = page.start
        runs.setdefault(min(number, len(names) - 1), []).append(page.index + 1)
    said = [
        f"page{'s' * (len(of) > 1)} {of[0]}{f' to {of[-1]}' if len(of) > 1 else ''} "
        f"of {names[number]!r}"
        for number, of in runs.items()
    ]
    return _within(f"({'; '.join(said)})\n")


def spans_told(text: str, spans: Sequence[tuple[int, int]], names: Sequence[str]) -> str:
    """The same of passages of a text, whose pages nobody knows yet: their documents in order."""
    if len(names) < 2:
        return ""
    numbers: dict[int, None] = {}
    for start, end in spans:
        first = text.count(PART_END, 0, start)
        last = first + text.count(PART_END, start, max(start, end - 1))
        numbers |= dict.fromkeys(min(at, len(names) - 1) for at in range(first, last + 1))
    return _within(f"(pages of {', then of '.join(repr(names[at]) for at in numbers)})\n")


def longest_told(names: Sequence[str]) -> str:
    """No shorter than what `pages_told` says of any pages."""
    if len(names) < 2:
        return ""
    said = "".join(f"pages 1000 to 1000 of {name!r}; " for name in names)
    return said if len(said) < MAX_TOLD_CHARS else " " * MAX_TOLD_CHARS


def _within(line: str) -> str:
    return line if len(line) <= MAX_TOLD_CHARS else ""


def in_its_document(citation: Citation, text: str, names: Sequence[str]) -> Citation:
    """A citation of a text of several documents, by its document's name and characters.

    Without names it stays as it is.
    """
    if not names:
        return citation
    begin = text.rfind(PART_END, 0, citation.start) + 1
    number = min(text.count(PART_END, 0, begin), len(names) - 1)
    return replace(
        citation,
        document=names[number],
        start=citation.start - begin,
        end=citation.end - begin,
    )
