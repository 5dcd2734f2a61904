"""Where one page ends and the next begins. Sees lines, not pixels.

Stable breaks are content-defined: within a window before the page is full, the cut comes after the
line whose hash is least, paragraph ends first. An edit changes the pages it touches; a page or two
later the cuts fall on the same lines again, and all further pages keep their digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from glyph_worker.render.page import Line


def cut_pages(
    lines: Iterable[Line], *, max_lines: int, min_lines: int, stable: bool
) -> Iterator[list[Line]]:
    """Pages of at most `max_lines`; all but the last of at least `min_lines` when `stable`."""
    held: list[Line] = []
    for line in lines:
        held.append(line)
        if not stable:
            if len(held) == max_lines:
                yield held
                held = []
        elif len(held) > max_lines:
            cut = _least(held, min_lines, max_lines)
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _least(lines: list[Line], low: int, high: int) -> int:
    """Lines to keep on this page: the place in [low, high] with the least hash."""
    best, where = (True, b"\xff" * 8), high
    for count in range(low, high + 1):
        line = lines[count - 1]
        # The line above goes in as well, or all empty lines of a text would be one and the same.
        key = lines[count - 2].shown + "\n" + line.shown if count > 1 else line.shown
        rank = (not line.ends_paragraph, blake2b(key.encode(), digest_size=8).digest())
        if rank <= best:
            best, where = rank, count
    return where
