"""Lines of characters over many source lines at once. No strings, only classes and widths."""

from __future__ import annotations

import numpy as np

NARROW, BLANK, CLOSING, OPENING = 1, 2, 4, 8
"""Bits of a character's class: part of a Latin word or a space; a space; may not start a line; may
not end one (only where nothing hangs)."""
_FUZZ = 1e-6
_FARTHEST = 64
"""Characters that a line is shortened by at most, not to end where it may not."""


def char_loop(
    classes: np.ndarray,
    sums: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    first: float,
    later: float,
    hang: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Lines of some source lines, as wrap.wrap_chars describes them.

    classes uint8[n]; sums float64[n + 1], points before each character; starts, stops int64[m] of
    the source lines. Returns int32[num_lines, 4] (start of the source line, begin, end, 1) and
    float64[num_lines] (points left). What has no width has one line of no words, with nothing left.
    """
    capacity = len(starts) + len(classes) // 32 + 1
    places = np.empty((capacity, 4), np.int32)
    extras = np.empty(capacity, np.float64)
    filled = 0
    for number in range(len(starts)):
        begin, stop = starts[number], stops[number]
        room = first
        first_row = filled
        while begin < stop and sums[stop] > sums[begin]:
            limit = sums[begin] + room + _FUZZ
            over = begin
            while over < stop and sums[over + 1] <= limit:
                over += 1
            end = following = over
            if over < stop and hang:
                end = over + 1
                closes = classes[over] & CLOSING
                if classes[over] & NARROW:
                    # A Latin word at the edge: back to a space or ideograph in the later half.
                    for at in range(over - 1, (begin + end) >> 1, -1):
                        if not classes[at] & NARROW or classes[at] & BLANK:
                            end = at + 2
                            closes = classes[at + 1] & CLOSING
                            break
                if not closes and end > begin + 1:
                    end -= 1
                following = end
            elif over < stop:
                over = max(over, begin + 1)
                end = over
                for cut in range(over, max((begin + over) >> 1, over - _FARTHEST), -1):
                    if cut == stop or classes[cut] & BLANK:
                        end = cut
                        break
                    before, after = classes[cut - 1], classes[cut]
                    in_word = before & after & NARROW and not before & BLANK
                    if not in_word and not after & CLOSING and not before & OPENING:
                        end = cut
                        break
                following = end
                if end + 1 < stop and classes[end] & BLANK:
                    following = end + 1
            places[filled, 0], places[filled, 1] = starts[number], begin
            places[filled, 2], places[filled, 3] = end, 1
            extras[filled] = room - (sums[end] - sums[begin])
            filled += 1
            begin, room = following, later
            if filled == len(extras):
                places, extras = np.concatenate((places, places)), np.concatenate((extras, extras))
        if filled == first_row:
            places[filled, :3] = starts[number]
            places[filled, 3] = 0
            extras[filled] = 0.0  # nothing there to be moved
            filled += 1
            if filled == len(extras):
                places, extras = np.concatenate((places, places)), np.concatenate((extras, extras))
    return places[:filled].copy(), extras[:filled].copy()
