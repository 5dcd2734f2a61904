"""Where one page ends and the next begins. Sees lines, not pixels.

Stable breaks are content-defined: whether a page ends after a line is decided by that line and its
neighbours, so that an edit changes the pages it touches, and soon after it the cuts fall on the
same lines again and all further pages keep their digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from zlib import crc32

from glyph_worker.render.lines.line import Line

_LEAST_SECTION, _MOST_SECTION = 0.5, 2.4
"""Pages; the more and shorter the sections, the sooner cuts are back in step after an edit, and the
more pages are cropped short. Chosen by ops/bench/render: 2 % more visual tokens was the limit."""
_LINES_BELOW, _CHARS_BELOW = 3, 40
"""What is looked at below the end of a paragraph: as little as tells one place from another, for an
edit in it moves the cut."""
_SPARE_WEIGHT = 0.4
"""How much an unused strip at a page's foot counts against a cut (windowed_pages)."""


def greedy_pages(lines: Iterable[Line], max_lines: int) -> Iterator[list[Line]]:
    """Every page full."""
    held: list[Line] = []
    for line in lines:
        held.append(line)
        if len(held) == max_lines:
            yield held
            held = []
    if held:
        yield held


def section_pages(
    lines: Iterable[Line], *, min_lines: int, heights: Sequence[int]
) -> Iterator[list[Line]]:
    """Sections of one to three pages, each of full pages and a shorter last one.

    A section ends at the best landmark (_landmark) from `min_lines` (0: half a page) to 2.4 pages
    on. So wide a choice finds the same place again whatever was shifted before it, and only one
    page in every section is not full. heights[n] is a page of n lines in pixels; full pages are
    those that give most lines for their height.
    """
    max_lines = len(heights) - 1
    full = max(range(1, max_lines + 1), key=lambda count: (count / heights[count], count))
    low = min_lines or max(1, round(max_lines * _LEAST_SECTION))
    high = max(low, round(max_lines * _MOST_SECTION))
    held: list[Line] = []
    for line in lines:
        held.append(line)
        if len(held) == high + _LINES_BELOW:
            end = _landmark(held, low, high)
            yield from _filled(held[:end], full, max_lines)
            held = held[end:]
    while len(held) > max_lines:
        end = _landmark(held, min(low, len(held)), min(high, len(held)))
        yield from _filled(held[:end], full, max_lines)
        held = held[end:]
    if held:
        yield held


def _landmark(lines: list[Line], low: int, high: int) -> int:
    """How many lines, from `low` to `high`, end where a section is best cut: at the least hash.

    Where a paragraph or block ends, the hash is that of the text below: what was wrapped anew above
    it does not change that. Within one it is that of the line and the two above it. More than a
    line, for lines that recur are no landmarks.
    """
    ends = [
        count
        for count in range(low, min(high, len(lines) - 1) + 1)
        if lines[count - 1].ends_paragraph
    ]

    def below(count: int) -> int:
        part = "\n".join([line.shown for line in lines[count : count + _LINES_BELOW]])
        return crc32(part[:_CHARS_BELOW].encode())

    def above(count: int) -> int:
        part = "\n".join([line.shown for line in lines[max(0, count - 3) : count]])
        return crc32(part.encode())

    ranks = (
        [(below(count), -count) for count in ends]
        if ends
        else [(above(count), -count) for count in range(low, high + 1)]
    )
    return -min(ranks)[1]  # of equals the last: lines all alike fill their pages


def _filled(section: list[Line], full: int, max_lines: int) -> Iterator[list[Line]]:
    """As few pages as a section takes, all but the last of `full` lines if that suffices."""
    while len(section) > max_lines:
        others = (len(section) - 1) // max_lines
        count = max(full, len(section) - others * max_lines)
        yield section[:count]
        section = section[count:]
    yield section


def windowed_pages(
    lines: Iterable[Line], *, min_lines: int, spare: Sequence[float]
) -> Iterator[list[Line]]:
    """Every page cut by itself, as those were that the embedded reader was trained on: from
    `min_lines` on, after the line with the least hash, paragraph ends first.

    spare[n] is what a page of n lines leaves unused of its last strip of visual tokens, 0 to 1.
    section_pages keeps more pages after an edit.
    """
    max_lines = len(spare) - 1
    held: list[Line] = []
    for line in lines:
        held.append(line)
        if len(held) > max_lines:
            cut = _least_in_window(held, min(min_lines, max_lines), spare)
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _least_in_window(lines: list[Line], low: int, spare: Sequence[float]) -> int:
    """Lines to keep on this page: the place from `low` on with the least rank."""
    best, where = float("inf"), len(spare) - 1
    for count in range(low, len(spare)):
        line = lines[count - 1]
        # The line above goes in as well, or all empty lines of a text would be one and the same.
        key = lines[count - 2].shown + "\n" + line.shown if count > 1 else line.shown
        hashed = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
        rank = hashed + _SPARE_WEIGHT * spare[count] + (0 if line.ends_paragraph else 2)
        if rank <= best:
            best, where = rank, count
    return where
