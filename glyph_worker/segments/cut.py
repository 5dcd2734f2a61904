"""Where an over-long text is cut: at its own joints, each part within a budget. Pure.

Cuts are content-defined: among the places that a segment may end at, that with the best joint and,
of equals, the least hash of the lines around it. After an edit the cuts fall on the same lines
again, so that only the segments around it have another text, and other digests.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from zlib import crc32

from glyph_worker.document import PART_END, Page

LEAST = 0.45
"""Of the budget: the shortest segment. Short ones cost overlap, and few places to choose from cost
stability after an edit."""
OVERLAP = 0.08
"""Of the budget: the most that a segment repeats of the one before it, so that what stands across a
cut is whole in one of them."""
_HEADING = re.compile(
    r"(?P<marks>#{1,6})[ \t]+\S"
    r"|(?i:chapter|part|section|article|appendix|annex|book)[ \t]+"
    r"(?i:\d+|[ivxlc]+|[a-z])\b[^\n]{0,80}$"
    r"|(?P<numbers>\d{1,3}(?:\.\d{1,3}){0,4})\.?[ \t]+[A-Z][^\n]{0,80}(?<![.,;:])$"
    r"|={3,}[^=\n]{1,100}={3,}$",
    re.MULTILINE,
)
_UNDERLINE = re.compile(r"[^\n]+\n(=|-|~|\*)\1{2,}[ \t]*$", re.MULTILINE)
_ENDS = re.compile(f"[\n{PART_END}]")
_PART, _BLANK, _LINE, _ANY = 0.0, 2.0, 3.0, 4.0
_MAX_PLACES = 4_000
"""Places looked at for one cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """Characters [start, end) of a text, of which those before `core` stand in the one before."""

    start: int
    core: int
    end: int


class TokenScale:
    """Visual tokens of a text's characters, from the pages that it was laid out on."""

    def __init__(self, pages: Iterable[Page], page_tokens: Iterable[int]) -> None:
        """`page_tokens`: what each page costs, in their order."""
        bounds = [(page.start, page.end) for page in pages]
        self._chars = [0, *(end for _, end in bounds)]
        self._tokens = [0, *accumulate(page_tokens)]

    @property
    def total(self) -> int:
        return self._tokens[-1]

    @property
    def num_chars(self) -> int:
        return self._chars[-1]

    def tokens(self, offset: int) -> float:
        """Tokens before a character."""
        at = min(bisect_right(self._chars, offset) - 1, len(self._chars) - 2)
        return self._between(offset, at, self._chars, self._tokens)

    def offset(self, tokens: float) -> int:
        """The character that has so many tokens before it."""
        at = min(bisect_right(self._tokens, tokens) - 1, len(self._tokens) - 2)
        return int(self._between(tokens, at, self._tokens, self._chars))

    @staticmethod
    def _between(value: float, at: int, given: Sequence[int], wanted: Sequence[int]) -> float:
        low, high = given[at], given[at + 1]
        share = 1.0 if high <= low else min(1.0, (value - low) / (high - low))
        return wanted[at] + share * (wanted[at + 1] - wanted[at])


def cut(text: str, scale: TokenScale, *, max_tokens: int) -> list[Segment]:
    """Segments of at most `max_tokens` each, by the scale; their cores tile the text.

    `text` is in normal form, as the scale's pages have it. A laid out segment may need a page more
    than the scale says, because it begins a page of its own: leave so much room.
    """
    assert max_tokens > 0
    size = scale.num_chars
    assert size == len(text), "the pages are of another text"
    segments: list[Segment] = []
    start = core = 0
    while scale.total - scale.tokens(start) > max_tokens:
        begin = scale.tokens(start)
        low = scale.offset(max(begin + LEAST * max_tokens, scale.tokens(core)))
        high = scale.offset(begin + max_tokens)
        end, rank = _best(text, max(low, core + 1), min(max(high, core + 1), size))
        segments.append(Segment(start=start, core=core, end=end))
        core = end
        start = core if rank < _BLANK else _overlap(text, scale, core, OVERLAP * max_tokens)
        start = max(start, segments[-1].core + 1)
    segments.append(Segment(start=start, core=core, end=size))
    return segments


def _best(text: str, low: int, high: int) -> tuple[int, float]:
    """Where to cut in [low, high], and the joint's rank: the lower the better."""
    best, where = (_ANY, 0), high
    if high < len(text) and (space := text.rfind(" ", low, high)) > 0:
        where = space + 1
    for mark in islice(_ENDS.finditer(text, low - 1, high), _MAX_PLACES):
        joint = _joint(text, mark.end())
        if joint > best[0]:
            continue
        rank = joint, crc32(_around(text, mark.end()).encode())
        if rank < best:
            best, where = rank, mark.end()
    return where, best[0]


def _joint(text: str, at: int) -> float:
    """How good a cut before the line at `at` is: part, heading by level, paragraph, line."""
    if text[at - 1] == PART_END:
        return _PART
    if text[at : at + 1] == "\n":
        return _ANY  # not before an empty line: it belongs to what stands above
    blank = text[at - 2 : at] == "\n\n" or text[at - 2 : at - 1] == PART_END
    heading = _HEADING.match(text, at, at + 120)
    if heading is not None and (heading["marks"] or blank):
        marks, numbers = heading["marks"], heading["numbers"]
        level = len(marks) if marks else 1 + numbers.count(".") if numbers else 1
        return 1.0 + level / 10
    if blank and _UNDERLINE.match(text, at, at + 250):
        return 1.1
    return _BLANK if blank else _LINE


def _around(text: str, at: int) -> str:
    """The line at `at` and the two above it: lines that recur are no landmarks."""
    above = at
    for _ in range(2):
        above = max(0, text.rfind("\n", max(0, above - 400), max(0, above - 1)) + 1)
    end = text.find("\n", at, at + 400)
    return text[above : end if end >= 0 else at + 400]


def _overlap(text: str, scale: TokenScale, core: int, most: float) -> int:
    """Where the text that is repeated before a cut begins: a paragraph, else a line."""
    low = scale.offset(max(0.0, scale.tokens(core) - most))
    paragraph = text.find("\n\n", max(0, low - 2), core - 1)
    if paragraph >= 0 and paragraph + 2 < core:
        return paragraph + 2
    line = text.find("\n", max(0, low - 1), core - 1)
    return line + 1 if line >= 0 else core
