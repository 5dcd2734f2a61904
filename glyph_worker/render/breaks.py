"""Where one page ends and the next begins. Sees lines, not pixels.

Stable breaks are content-defined: within a window before the page is full, the cut comes after the
line whose hash is least, paragraph ends first. An edit changes the pages it touches; a page or two
later the cuts fall on the same lines again, and all further pages keep their digests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from glyph_worker.render.page import Line

_SPARE_WEIGHT = 0.4
"""How much an unused strip at a page's foot counts against a cut; measured by ops/bench/render:
without it the embedded reader's pages take 0.6 % more visual tokens."""


def cut_pages(
    lines: Iterable[Line], *, min_lines: int, stable: bool, spare: Sequence[float]
) -> Iterator[list[Line]]:
    """Pages of at most len(spare) - 1 lines; all but the last of at least `min_lines` if `stable`.

    spare[n] is what a page of n lines leaves unused of its last strip of visual tokens, 0 to 1.
    """
    max_lines = len(spare) - 1
    held: list[Line] = []
    for line in lines:
        held.append(line)
        if not stable:
            if len(held) == max_lines:
                yield held
                held = []
        elif len(held) > max_lines:
            cut = _least(held, min(min_lines, max_lines), spare)
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _least(lines: list[Line], low: int, spare: Sequence[float]) -> int:
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
