"""Paragraphs to lines, by words or by characters, as reportlab breaks them. Widths only, no fonts.

Both follow what reportlab 4 and 5 were seen to do, because the model was trained on its line ends:
a line of words may run over by 5 % of its spaces, no-break spaces are glue, an overlong word starts
on the current line, closing punctuation may hang over the edge of a line of characters.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from glyph_worker.render.fonts.marks import FOUR, LINE_END, ONE, TAB
from glyph_worker.render.loops.blit import fastest
from glyph_worker.render.loops.char_loop import BLANK, CLOSING, NARROW, OPENING
from glyph_worker.render.loops.wrap_loop import FULL

SHRINK = 0.05
"""Share of its spaces by which a line of words may be too long."""
_BLOCK = 65_536

CANNOT_START = frozenset(
    "!',.:;?\")]\u3001\u3002\u300d\u300f\u3011\u3015\uff3d\uff09"
    "\u3005\u2015\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u308e"
    "\u30a1\u30a3\u30a5\u30a7\u30a9\u30c3\u30e3\u30e5\u30e7\u30ee\u30fc\u30f5\u30f6"
    "\u309b\u309c\u30fb\u30fd\u30fe\u309d\u309e\u2010\xb0\u2032\u2033\u2103\uffe0\uff05\u2030"
)
"""Characters that hang over the edge of a line rather than start one."""


CANNOT_START_FLOW = (
    CANNOT_START
    | frozenset(
        "\uff0c\uff0e\uff01\uff1f\uff1a\uff1b\uff5d\uff60\u2019\u201d\u2025\u2026\u3009\u300b\u3017"
        "\u3019\u301b\u301c\u301f\u303b\u3095\u3096\u30a0\uff61\uff63\uff64\uff65\uff67\uff68\uff69\uff6a"
        "\uff6b\uff6c\uff6d\uff6e\uff6f\uff70\uff9e\uff9f%}>"
    )
    | frozenset((*map(chr, range(0x31F0, 0x3200)), LINE_END, TAB))
)
CANNOT_END = frozenset(
    "([{<\u2018\u201c\u3008\u300a\u300c\u300e\u3010\u3014\u3016\u3018\u301a\u301d\uff08\uff3b\uff5b\uff5f"
    "\uff62$\uff04\u00a3\uffe1\u00a5\uffe5"
) | frozenset((ONE, FOUR))
"""What may not end a line of characters, nor start one, in flow: JIS X 4051 and GB/T 15834."""


class Piece(NamedTuple):
    """A line's place in its paragraph, and how its width came out."""

    begin: int
    end: int
    extra: float
    """Points left on the line; negative when it runs over."""
    num_words: int


def wrap_words(
    text: str,
    *,
    width_of: Callable[[str], float],
    first: float,
    later: float,
    space: float,
    shrink: float = SHRINK,
    whole: float = math.inf,
    parts_of: Callable[[str], Sequence[str]] = str,
) -> Iterator[Piece]:
    """Lines of words; the first is `first` points wide, all others `later`.

    Words are parted by single spaces (U+0020). Blank text gives no line. `width_of` takes a word;
    `shrink` is the share of its spaces by which a line may be too long. A word wider than `whole`
    is cut like an overlong one, where it would leave more than FULL of a line white. `parts_of`
    gives what a word may be cut into: its characters.
    """
    room = first
    count = 0  # words on this line
    used = 0.0
    start = stop = 0  # this line, as far as it is filled
    # Linear in the text: an overlong word is walked once, a long text is split block by block.
    for at, words in _blocks(text):
        for word in words:
            if not word:  # only at the ends: inner spaces are single
                at += 1
                continue
            width = width_of(word)
            if count:
                wider = used + space + width
                limit = room + (space + (count - 1) * space) * shrink
            else:
                wider, limit = width, room
            if wider <= limit:
                if not count:
                    start = at
                count += 1
                used = wider
            elif width <= room and (width <= whole or used >= FULL * room):
                yield Piece(start, stop, room - used, count)
                room, start, count, used = later, at, 1, width
            else:
                begin = 0
                parts = parts_of(word)
                places = _places(parts, at)
                if count:
                    begin, _ = _fitting(parts, 0, width_of, room - space - used, later)
                    if begin:
                        used += space + width_of(word[: places[begin] - at])
                        stop = places[begin]
                        count += 1
                    yield Piece(start, stop, room - used, count)
                    room = later
                while True:
                    cut, used = _fitting(parts, begin, width_of, room, later)
                    if cut == len(parts):
                        break
                    yield Piece(places[begin], places[cut], room - used, 1)
                    room, begin = later, cut
                start, count = places[begin], 1
            stop = at + len(word)
            at = stop + 1
    if count:
        yield Piece(start, stop, room - used, count)


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of a text, some ten thousand at a time, with the offset of the first."""
    at, size = 0, len(text)
    while at < size:
        end = text.find(" ", at + _BLOCK)
        if end < 0:
            end = size
        yield at, text[at:end].split(" ")
        at = end + 1


def _places(parts: Sequence[str], at: int) -> Sequence[int]:
    """Where each part of a word begins that begins at `at`, and where the last ends."""
    if isinstance(parts, str):
        return range(at, at + len(parts) + 1)
    return list(accumulate(map(len, parts), initial=at))


def _fitting(
    parts: Sequence[str], begin: int, width_of: Callable[[str], float], room: float, later: float
) -> tuple[int, float]:
    """The part at which a line must cut a word that goes on at part `begin`, and the width up to
    there."""
    used = 0.0
    for index in range(begin, len(parts)):
        width = width_of(parts[index])
        if used + width > room and (used or width <= later):
            return index, used
        used += width
    return len(parts), used


def wrap_chars(
    codes: np.ndarray,
    sums: np.ndarray,
    starts: Sequence[int] | np.ndarray,
    stops: Sequence[int] | np.ndarray,
    *,
    first: float,
    later: float,
    hang: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Lines of characters, broken anywhere but before closing punctuation.

    codes uint32[n], code points; sums float64[n + 1], points before each; starts and stops of the
    source lines among them. hang: punctuation may hang over the edge, as in reportlab; else what
    stands before it goes with it to the next line, and no line ends with an opening bracket or
    within a Latin word. Returns what char_loop does.
    """
    lines = (np.asarray(starts, np.int64), np.asarray(stops, np.int64))
    found: tuple[np.ndarray, np.ndarray] = fastest().chars(
        _classes(hang)[codes], sums, *lines, first, later, hang
    )
    return found


@cache
def _classes(hang: bool) -> np.ndarray:
    """Classes of all characters for char_loop, uint8[0x110000]."""
    classes = np.zeros(0x110000, np.uint8)
    classes[: 0x3000 if hang else 0x2E80] = NARROW
    blank = [code for code in range(0x3000) if unicodedata.category(chr(code)) == "Zs"]
    classes[blank if hang else 0x20] |= BLANK
    classes[list(map(ord, CANNOT_START if hang else CANNOT_START_FLOW))] |= CLOSING
    if not hang:
        classes[list(map(ord, CANNOT_END))] |= OPENING
    return classes
