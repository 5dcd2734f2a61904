"""One document made ready to be searched. Each form is made when first needed, and then kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import islice

import numpy as np

from glyph_worker.evidence.confusions import SKELETON
from glyph_worker.evidence.fold import Folded, as_text, fold

Span = tuple[int, int]
"""Half-open range of characters."""


MAX_TRIED = 1_000
"""Places that are tried one by one before it is left to a pattern, or left."""


class DocumentIndex:
    """The text as the model saw it (in normal form), its fold, and its fold as eyes may confuse it.

    Not changed once made; two threads that make the same form at once lose a little time only.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def num_chars(self) -> int:
        return len(self.text)

    @cached_property
    def lowered(self) -> str:
        """For counting words; its offsets are not the text's."""
        return self.text.lower()

    @cached_property
    def folded(self) -> Folded:
        return fold(self.text)

    @cached_property
    def skeleton(self) -> str:
        """The fold with every character in its class of confusable ones; offsets are the fold's."""
        return skeleton(self.folded.text)

    def exact(self, part: str) -> Iterator[Span]:
        """Every place where `part` stands alone, in order."""
        at = -1
        for at in islice(_finds(self.text, part), MAX_TRIED):
            if self.alone(at, at + len(part)):
                yield at, at + len(part)
        if at < 0 or self.text.find(part, at + 1) < 0:
            return
        # As a digit stands in most numbers: what goes on over an edge is passed over in C.
        for match in _edged(part).finditer(self.text, at + 1):
            if self.alone(*match.span()):
                yield match.span()

    def alike(self, folded_part: str) -> Iterator[Span]:
        """Every place whose fold is this one, and that stands alone."""
        yield from self._spans(self.folded.text, folded_part)

    def confusable(self, skeleton_part: str) -> Iterator[Span]:
        """Every place that eyes may take for this skeleton, and that stands alone."""
        yield from self._spans(self.skeleton, skeleton_part)

    def _spans(self, text: str, part: str) -> Iterator[Span]:
        for at in islice(_finds(text, part), MAX_TRIED):
            start, end = self.folded.span(at, len(part))
            if self.alone(start, end):
                yield start, end

    def alone(self, start: int, end: int) -> bool:
        """Whether no word, number or code goes on over either edge of this range.

        Letters of scripts without case may touch it: they are written without spaces.
        """
        text = self.text
        return not (
            (start > 0 and joined(text[start - 1], text[start]))
            or (end < len(text) and joined(text[end - 1], text[end]))
            or _goes_on_left(text, start, end)
            or _goes_on_right(text, start, end)
        )


# A number goes on over an edge with a point and a digit, or with a comma as thousands are grouped.
# Numbers that commas part (1.25,470.42) do not, nor does what ends a date or a code.
_POINT_BEFORE = re.compile(r"\d\.\Z")
_GROUPS_BEFORE = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})*,\Z")
_GROUP = re.compile(r"\d{3}(?!\d)(?:,\d{3}(?!\d))*(?!,\d)")
_BEGINS = re.compile(r"\d+(?![-/:_\w])")
_ENDS = re.compile(r"(?<![-/:_\w.,])(?:\d+|\d{1,3}(?:,\d{3})+|(?P<point>\d[\d,]*(?:\.\d+)+))\Z")
_POINT_AFTER = re.compile(r"\.\d")
_GROUPS_AFTER = re.compile(r"(?:,\d{3}(?!\d))+(?!,\d)")


def _goes_on_left(text: str, start: int, end: int) -> bool:
    if start < 2 or text[start - 1] not in ".," or _BEGINS.match(text, start, end) is None:
        return False
    before = text[max(0, start - 24) : start]
    if _POINT_BEFORE.search(before):
        return True
    return bool(_GROUPS_BEFORE.search(before) and _GROUP.match(text, start))


def _goes_on_right(text: str, start: int, end: int) -> bool:
    if end >= len(text) or text[end] not in ".,":
        return False
    last = _ENDS.search(text[max(start, end - 24) : end])
    if last is None:
        return False
    if _POINT_AFTER.match(text, end):
        return True
    return last["point"] is None and _GROUPS_AFTER.match(text, end) is not None


def _edged(part: str) -> re.Pattern[str]:
    """The part where no word or number obviously goes on."""
    before = after = ""
    if _inner(part[0]):
        before = f"(?<!{_CASED})" + (r"(?<!\d\.)" if part.isdigit() else "")
    if _inner(part[-1]):
        after = f"(?!{_CASED})" + (r"(?!\.\d)" if part.isdigit() else "")
    return re.compile(before + re.escape(part) + after)


_CASED = "[0-9A-Za-z\u00c0-\u024f\u0370-\u052f]"


def joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word or number."""
    return _inner(left) and _inner(right)


def _inner(char: str) -> bool:
    return char.isdigit() or char.lower() != char.upper()


def skeleton(folded: str) -> str:
    """A fold with every character in its class of confusable ones."""
    if folded.isascii():
        return folded.encode("ascii").translate(_ASCII_SKELETON).decode("ascii")
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), np.uint32)
    small = codes < len(SKELETON)
    if small.all():
        return as_text(SKELETON[codes])
    out = codes.copy()
    out[small] = SKELETON[codes[small]]
    return as_text(out)


_ASCII_SKELETON = SKELETON.astype(np.uint8).tobytes()


def _finds(text: str, part: str) -> Iterator[int]:
    at = text.find(part) if part else -1
    while at >= 0:
        yield at
        at = text.find(part, at + 1)
