"""An answer that is a copy of one place of its document, but for its end or a slip → that place's
own text.

`complete` only ever adds to an answer, so that what was streamed of it stays true. `respell` may
change what is there. Neither touches an answer that stands in the document as it is and is whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from glyph_worker.evidence.align import align
from glyph_worker.evidence.index import DocumentIndex, Span

Choose = Callable[[Sequence[Span]], Span]

MIN_CHARS, MAX_CHARS = 3, 200
"""Of a copy. Shorter ones begin too many words, longer ones are written and not copied."""
MAX_PLACES = 64
MAX_ADDED = 80
"""Characters up to the bracket that closes."""
MIN_SCORE = 0.9
"""Share of characters in common from which another spelling is a slip."""
_CLOSES = {"(": ")", "[": "]", "{": "}"}
_OPENS = {closing: opening for opening, closing in _CLOSES.items()}
_REST = re.compile(r"\w*(?:[.,]?\d+)*")
_ADDRESS = re.compile(r"<[^\s<>]*\Z")


def complete(index: DocumentIndex, answer: str, choose: Choose) -> str | None:
    """The answer with the rest of the word or number in which it stops, and up to the end of a
    bracket that it leaves open; None where it stops nowhere so, or its places go on differently.
    """
    copy = answer.lstrip()
    if not MIN_CHARS <= len(copy) <= MAX_CHARS or "\n" in copy or copy[-1].isspace():
        return None
    whole = list(islice(index.exact(copy), MAX_PLACES))
    if whole:
        start, end = choose(whole)
    else:
        goes_on = {(index.text[slice(*span)], span) for span in _continued(index, copy)}
        if len({text for text, _ in goes_on}) != 1:
            return None
        start, end = choose(sorted(span for _, span in goes_on))
    end = _closed(index.text, start, end)
    fuller = index.text[start:end]
    if len(fuller) <= len(copy) or not fuller.startswith(copy):
        return None
    return answer[: len(answer) - len(copy)] + fuller


def _continued(index: DocumentIndex, copy: str) -> Iterator[Span]:
    """Places where the copy begins a word and ends within one: with the rest of it."""
    at = index.text.find(copy)
    for _ in range(MAX_PLACES):
        if at < 0:
            return
        rest = _REST.match(index.text, at + len(copy))
        end = rest.end() if rest is not None else at + len(copy)
        if index.alone(at, end):
            yield at, end
        at = index.text.find(copy, at + 1)


def _closed(text: str, start: int, end: int) -> int:
    """The end of a range with the closing marks of its line that it needs."""
    within = text[start:end]
    if _ADDRESS.search(within):
        rest = re.compile(r"[^\s<>]*>").match(text, end, end + MAX_ADDED)
        return rest.end() if rest is not None else end
    opened: list[str] = []
    for char in within:
        if char in _CLOSES:
            opened.append(char)
        elif opened and _OPENS.get(char) == opened[-1]:
            opened.pop()
    for at in range(end, min(len(text), end + MAX_ADDED)):
        if not opened or text[at] == "\n":
            break
        if text[at] in _CLOSES:
            opened.append(text[at])
        elif _OPENS.get(text[at]) == opened[-1]:
            opened.pop()
            end = at + 1 if not opened else end
    return end


def respell(index: DocumentIndex, answer: str) -> str | None:
    """The document's own spelling of a copy that differs from it in case, spacing or hyphens, or by
    a slip in some letter; None for one that stands there as it is, or is like several. Its digits
    are the document's already: what was misread there is a literal's matter.
    """
    copy = answer.strip()
    if not MIN_CHARS <= len(copy) <= MAX_CHARS or "\n" in copy:
        return None
    found = align(index, copy)
    if found is None or found.kind == "exact" or found.score < MIN_SCORE:
        return None
    spellings = {_bare(" ".join(index.text[slice(*span)].split()), copy) for span in found.places}
    if len(spellings) != 1:
        return None
    (spelling,) = spellings
    alike = len(found.places) == 1 or found.kind == "normalized"
    return spelling if alike and _digits(spelling) == _digits(copy) and spelling != copy else None


def _bare(spelling: str, copy: str) -> str:
    """Without the quotes around it, where the copy has none."""
    start, end = 0, len(spelling)
    while start < end and spelling[start] in "\"'" and copy[0] != spelling[start]:
        start += 1
    while start < end and spelling[end - 1] in "\"'" and copy[-1] != spelling[end - 1]:
        end -= 1
    return spelling[start:end]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
