"""Paragraphs to lines, by words or by characters, as reportlab breaks them. Widths only, no fonts.

Both follow what reportlab 4 and 5 were seen to do, because the model was trained on its line ends:
a line of words may run over by 5 % of its spaces, no-break spaces are glue, an overlong word starts
on the current line, closing punctuation may hang over the edge of a line of characters.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

SHRINK = 0.05
"""Share of its spaces by which a line of words may be too long."""
_FUZZ = 1e-6
_BLOCK = 65_536

CANNOT_START = frozenset(
    "!',.:;?\")]\u3001\u3002\u300d\u300f\u3011\u3015\uff3d\uff09"
    "\u3005\u2015\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u308e"
    "\u30a1\u30a3\u30a5\u30a7\u30a9\u30c3\u30e3\u30e5\u30e7\u30ee\u30fc\u30f5\u30f6"
    "\u309b\u309c\u30fb\u30fd\u30fe\u309d\u309e\u2010\xb0\u2032\u2033\u2103\uffe0\uff05\u2030"
)
"""Characters that hang over the edge of a line rather than start one."""


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
) -> Iterator[Piece]:
    """Lines of words; the first is `first` points wide, all others `later`.

    Words are parted by single spaces (U+0020). Blank text gives no line. `width_of` takes a word;
    `shrink` is the share of its spaces by which a line may be too long.
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
            elif width <= room:
                yield Piece(start, stop, room - used, count)
                room, start, count, used = later, at, 1, width
            else:
                begin = 0
                if count:
                    begin, _ = _fitting(word, 0, width_of, room - space - used, later)
                    if begin:
                        used += space + width_of(word[:begin])
                        stop = at + begin
                        count += 1
                    yield Piece(start, stop, room - used, count)
                    room = later
                while True:
                    cut, used = _fitting(word, begin, width_of, room, later)
                    if cut == len(word):
                        break
                    yield Piece(at + begin, at + cut, room - used, 1)
                    room, begin = later, cut
                start, count = at + begin, 1
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


def _fitting(
    word: str, begin: int, width_of: Callable[[str], float], room: float, later: float
) -> tuple[int, float]:
    """Where a line must cut a word that starts at `begin`, and the width up to there."""
    used = 0.0
    for index in range(begin, len(word)):
        width = width_of(word[index])
        if used + width > room and (used or width <= later):
            return index, used
        used += width
    return len(word), used


def wrap_measured(
    text: str,
    sums: Sequence[float],
    zero: int,
    *,
    width_of: Callable[[str], float],
    first: float,
    later: float,
    space: float,
    precise: bool,
) -> Iterator[Piece]:
    """What wrap_words gives, from running widths (Ruler.word_ends): a search for every line.

    `extra` may be off by rounding, unless `precise` or negative. Falls back on wrap_words where a
    word is overlong, or so near the edge that rounding decides.
    """
    size = len(text)
    start = 1 if text.startswith(" ") else 0
    stop = size - 1 if size > start and text[size - 1] == " " else size
    room = first
    while start < stop:
        reach = sums[zero + start] + room
        over = bisect_right(sums, reach, zero + start, zero + stop + 1) - 1 - zero
        if over >= stop:
            cut = stop
        elif text[over] == " " and text[over - 1 : over + 2].count(" ") == 1:
            cut = over
        else:
            cut = text.rfind(" ", start, over)
        if cut < stop:
            following = text.find(" ", cut + 1, stop)
            end = following if following >= 0 else stop
            near = sums[zero + end] - reach
        else:
            near = 1.0
        if cut <= start or near < _FUZZ or reach - sums[zero + cut] < _FUZZ:
            break
        if cut < stop and sums[zero + end] - sums[zero + cut + 1] > later - _FUZZ:
            break
        piece = text[start:cut]
        spaces = piece.count(" ")
        extra = reach - sums[zero + cut] - SHRINK * space * spaces
        if precise or extra < _FUZZ:  # the line is squeezed: sum up as reportlab does
            used = -space
            for word in piece.split(" "):
                used = used + space + width_of(word)
            extra = room - used
        yield Piece(start, cut, extra, spaces + 1)
        start, room = cut + 1, later
    else:
        return
    rest = wrap_words(text[start:], width_of=width_of, first=room, later=later, space=space)
    for piece_ in rest:
        yield piece_._replace(begin=piece_.begin + start, end=piece_.end + start)


def wrap_chars(
    text: str, sums: Sequence[float], zero: int, *, first: float, later: float
) -> Iterator[Piece]:
    """Lines of characters, broken anywhere but before closing punctuation.

    sums[zero + i] is the width of all before text[i] (Ruler.char_ends).
    """
    start, size, room = 0, len(text), first
    while start < size:
        base = sums[zero + start]
        over = bisect_right(sums, base + room + _FUZZ, zero + start, zero + size + 1) - 1 - zero
        if over >= size:
            if sums[zero + size] > base:
                yield Piece(start, size, room - (sums[zero + size] - base), 1)
            return
        after = over + 1
        char = text[over]
        if char < "\u3000":
            # A Latin word at the edge: go back to a space or an ideograph in the later half.
            for index in range(over - 1, (start + after) >> 1, -1):
                if text[index] >= "\u3000" or unicodedata.category(text[index]) == "Zs":
                    after = index + 2
                    char = text[index + 1]
                    break
        if char not in CANNOT_START and after > start + 1:
            after -= 1
        yield Piece(start, after, room - (sums[zero + after] - base), 1)
        start, room = after, later
