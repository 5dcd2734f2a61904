"""Layouts put into one another: two side by side, one indented, commented or framed. Lessons only."""
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from train.document_draft import Draft, Spot
from train.words import Words

Maker = Callable[[Draft, Words, int], None]
COLUMNS = 64
EDGES = ("# ", "> ", "| ", "// ", " * ", "    ", "  ", "      ", "; ", "-- ", ">> ", "% ", "|  ")


def address(draft: Draft, words: Words, count: int) -> None:
    """Who writes, or to whom: a name and where it is."""
    rng = words.rng
    lines = [words.company(), words.person(), words.street()]
    lines += [
        f"{words.pseudo(1, 2).capitalize()} {words.code()[:8]}",
        words.telephone(),
        words.email(),
    ]
    for line in lines[: rng.randint(2, len(lines))]:
        if rng.random() < 0.85:
            draft.add(line)
    if rng.random() < 0.2:
        draft.lines.insert(0, rng.choice(["Bill to:", "To:", "Deliver to:", "From:", "Customer"]))


def beside(draft: Draft, words: Words, left: Maker, right: Maker, count: int) -> bool:
    """Two blocks in columns of one page; False, and nothing written, where they are too wide."""
    rng = words.rng
    used = set(draft.used)
    one, two = Draft(used=used), Draft(used=used)
    left(one, words, count)
    right(two, words, count)
    width = max(map(len, one.lines), default=0) + rng.randint(2, 8)
    breadth = max(map(len, two.lines), default=0)
    if not one.lines or not two.lines or width + breadth > COLUMNS:
        return False
    if rng.random() < 0.5:
        width = max(width, rng.randint(width, COLUMNS - breadth))
    draft.used |= used
    down = [0, 0]
    if rng.random() < 0.3:
        down[rng.randrange(2)] = rng.randint(1, 3)
    base = len(draft.lines)
    height = max(len(one.lines) + down[0], len(two.lines) + down[1])
    mark = rng.choice(["", "", "", "| "]) if width + breadth + 2 <= COLUMNS else ""
    for row in range(height):
        shown = one.lines[row - down[0]] if 0 <= row - down[0] < len(one.lines) else ""
        other = two.lines[row - down[1]] if 0 <= row - down[1] < len(two.lines) else ""
        draft.add(shown.ljust(width) + mark + other)
    _take(draft, one, base + down[0], 0)
    _take(draft, two, base + down[1], width + len(mark))
    return True


def framed(draft: Draft, words: Words, maker: Maker, count: int) -> None:
    """A block with the same few characters before every line."""
    edge, inner = words.rng.choice(EDGES), Draft(used=draft.used)
    maker(inner, words, count)
    base = len(draft.lines)
    for line in inner.lines:
        draft.add(edge + line)
    _take(draft, inner, base, len(edge))


def _take(draft: Draft, inner: Draft, down: int, right: int) -> None:
    def moved(spot: Spot) -> Spot:
        return spot[0] + down, spot[1] + right

    draft.facts += [replace(f, spot=moved(f.spot), above=moved(f.above)) for f in inner.facts]
