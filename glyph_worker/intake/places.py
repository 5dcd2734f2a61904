"""What pages of PDFs and pictures share: places of words, sizes, numbers. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glyph_worker.document import WordPlace
from glyph_worker.errors import DocumentTooLarge
from glyph_worker.intake.reflow import Block, Word

ASCENT, DESCENT = 0.8, 0.22
"""Shares of the type size above and below the baseline that a word's box has."""
MAX_SKIPPED = 400
"""Characters; a word that is not found so soon was changed on its way into the text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A page as it is looked at: where its lower left corner is, and how large it is."""

    left: float
    bottom: float
    width: float
    height: float

    def place(self, word: Word, start: int, end: int) -> WordPlace:
        """A word of the layout, which counts upwards, in shares of the page from its top."""
        top = 1 - (word.baseline + ASCENT * word.size - self.bottom) / self.height
        bottom = 1 - (word.baseline - DESCENT * word.size - self.bottom) / self.height
        left, right = ((x - self.left) / self.width for x in (word.left, word.right))
        return WordPlace(start, end, left, top, right, bottom)


def placed(text: str, blocks: Sequence[Block], frame: Frame, *, start: int) -> Iterator[WordPlace]:
    """Places of a page's words in `text`, which it became and which begins at `start`.

    Words come in the text in the order of the layout, so each is looked for behind the one before.
    A word that broke at a line's end has lost its hyphen, and its halves are places of their own.
    """
    at = 0
    for block in blocks:
        for line in block.lines:
            for word in line.words:
                for form in (word.text, word.text.rstrip("-\u2010\u00ad")):
                    found = text.find(form, at, at + MAX_SKIPPED + len(form)) if form else -1
                    if found >= 0:
                        at = found + len(form)
                        yield frame.place(word, start + found, start + at)
                        break


def check_bytes(num_bytes: int, number: int, max_bytes: int) -> None:
    """Raises DocumentTooLarge."""
    if num_bytes > max_bytes:
        raise DocumentTooLarge(
            f"the first {number} pages have {num_bytes} bytes as pictures, limit is {max_bytes}; "
            "send fewer at once",
            num_bytes=num_bytes,
            max_bytes=max_bytes,
        )


def numbered(numbers: list[int]) -> str:
    """`page 2`, or `pages 2, 5-7` for [2, 5, 6, 7]; the first twenty ranges."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    shown = [str(a) if a == b else f"{a}-{b}" for a, b in found[:20]]
    listed = ", ".join(shown) + (", …" if len(found) > 20 else "")
    return f"{'page' if len(numbers) == 1 else 'pages'} {listed}"
