"""wrap.wrap_words over a whole block of text at once, to be compiled. No strings, only classes."""

from __future__ import annotations

import numpy as np

FULL = 0.9
"""Of its room: a line so full is never filled up with the beginning of a long word."""
SIMPLE, SPACE, NEWLINE, ODD = 0, 1, 2, 3
"""Classes of characters: drawn as they are; a single U+0020; line end; needs spelling or shaping.
Spaces beside spaces are glue, and so SIMPLE."""


def wrap_loop(
    kinds: np.ndarray,
    widths: np.ndarray,
    points: float,
    room: float,
    space: float,
    shrink: float,
    whole: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Lines of all source lines that are free of odd characters.

    kinds uint8[n] of classes and widths float64[n] in thousandths of the font size, for a block
    that ends at a line end; points: thousandths to points; room: width of every line; space: of a
    space; both in points; `whole`: see wrap_words. Returns int32[num_lines, 4] (start of the source
    line, begin, end, number of words) and float64[num_lines] (points left). A blank source line has
    one line of no words.
    The sums and comparisons are those of wrap_words, in the same order.
    """
    size = len(kinds)
    capacity = size // 8 + 64
    places = np.empty((capacity, 4), np.int32)
    extras = np.empty(capacity, np.float64)
    filled = 0
    para = 0
    while para < size:
        first_row = filled
        odd = False
        count = 0  # words on this line
        used = 0.0
        start = stop = para
        at = para
        while at < size:
            kind = kinds[at]
            if kind == NEWLINE:
                break
            if kind == SPACE:
                at += 1
                continue
            after = at
            total = 0.0
            while after < size and kinds[after] == SIMPLE:
                total += widths[after]
                after += 1
            if after < size and kinds[after] == ODD:
                odd = True
                break
            width = points * total
            if filled + 4 + (after - at) > capacity:
                capacity = 2 * capacity + (after - at)
                more = np.empty((capacity, 4), np.int32)
                more[:filled] = places[:filled]
                places = more
                longer = np.empty(capacity, np.float64)
                longer[:filled] = extras[:filled]
                extras = longer
            if count:
                wider = used + space
                wider = wider + width
                limit = room + (space + (count - 1) * space) * shrink
            else:
                wider = width
                limit = room
            if wider <= limit:
                if count == 0:
                    start = at
                count += 1
                used = wider
            elif width <= room and (width <= whole or used >= FULL * room):
                places[filled, 0], places[filled, 1] = para, start
                places[filled, 2], places[filled, 3] = stop, count
                extras[filled] = room - used
                filled += 1
                start, count, used = at, 1, width
            else:
                begin = at
                if count:
                    budget = room - space
                    budget = budget - used
                    reach = 0.0
                    total = 0.0
                    while begin < after:
                        one = points * widths[begin]
                        if reach + one > budget and (reach > 0.0 or one <= room):
                            break
                        reach += one
                        total += widths[begin]
                        begin += 1
                    if begin > at:
                        used += space + points * total
                        stop = begin
                        count += 1
                    places[filled, 0], places[filled, 1] = para, start
                    places[filled, 2], places[filled, 3] = stop, count
                    extras[filled] = room - used
                    filled += 1
                while True:
                    cut = begin
                    reach = 0.0
                    while cut < after:
                        one = points * widths[cut]
                        if reach + one > room and (reach > 0.0 or one <= room):
                            break
                        reach += one
                        cut += 1
                    if cut == after:
                        used = reach
                        break
                    places[filled, 0], places[filled, 1] = para, begin
                    places[filled, 2], places[filled, 3] = cut, 1
                    extras[filled] = room - reach
                    filled += 1
                    begin = cut
                start, count = begin, 1
            stop = after
            at = after
        if odd:  # not for us: forget its lines
            filled = first_row
            while at < size and kinds[at] != NEWLINE:
                at += 1
        elif count or filled == first_row:
            places[filled, 0], places[filled, 1] = para, start if count else para
            places[filled, 2], places[filled, 3] = stop if count else para, count
            extras[filled] = room - used
            filled += 1
            if filled + 4 > capacity:
                capacity = 2 * capacity
                more = np.empty((capacity, 4), np.int32)
                more[:filled] = places[:filled]
                places = more
                longer = np.empty(capacity, np.float64)
                longer[:filled] = extras[:filled]
                extras = longer
        para = at + 1
    return places[:filled].copy(), extras[:filled].copy()
