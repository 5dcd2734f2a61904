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
            or (text[start].isdigit() and start > 1 and _in_number(text[start - 2 : start]))
            or (
                text[end - 1].isdigit()
                and end + 1 < len(text)
                and _in_number(text[end + 1] + text[end])
            )
        )


def _edged(part: str) -> re.Pattern[str]:
    """The part where no word or number obviously goes on."""
    before = after = ""
    if _inner(part[0]):
        before = f"(?<!{_CASED})" + (r"(?<!\d[.,])" if part[0].isdigit() else "")
    if _inner(part[-1]):
        after = f"(?!{_CASED})" + (r"(?![.,]\d)" if part[-1].isdigit() else "")
    return re.compile(before + re.escape(part) + after)


_CASED = "[0-9A-Za-z\u00c0-\u024f\u0370-\u052f]"


def _in_number(pair: str) -> bool:
    """A digit, then what goes on a number: 12.5, 1,204."""
    return pair[0].isdigit() and pair[1] in ".,"


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
