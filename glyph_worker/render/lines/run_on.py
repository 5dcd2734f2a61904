"""Source lines set one after the other, as one string with marks between. Knows no widths."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from glyph_worker.render.fonts.marks import FOUR, LINE_END, ONE, TAB
from glyph_worker.render.lines.forms import Block

_WIDE_GAP = re.compile("  +")
_BROKEN = LINE_END + " "
_WIDE = "\u00a0 "
"""What is drawn for several spaces within a line: two, of which the second may end a row."""

Speller = Callable[[str, int], tuple[str, list[int] | None]]
"""What to draw for a text that starts at an offset, and where its characters come from."""


class SetLine(NamedTuple):
    """What is drawn for a block, and where each character comes from."""

    shown: str
    offsets: np.ndarray
    """int64[len(shown)], offsets into the normalised text; they never fall."""


class Writer:
    """Puts pieces together; a piece is a string and where it comes from."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._origins: list[int] = []
        self._steps: list[int] = []
        self._last = ""

    def put(self, part: str, origin: int, *, moves: bool) -> None:
        """`moves`: every character comes from the next offset; else all come from one."""
        if part:
            self._shown.append(part)
            self._origins.append(origin)
            self._steps.append(int(moves))
            self._last = part[-1]

    def put_each(self, part: str, offsets: list[int]) -> None:
        for char, offset in zip(part, offsets, strict=True):
            self.put(char, offset, moves=False)

    def gap(self, origin: int) -> None:
        """A place where a row may end, unless there is one."""
        if self._last and self._last not in (" ", ""):
            self.put(" ", origin, moves=False)

    def run(self) -> SetLine:
        sizes = np.array([len(part) for part in self._shown], np.int64)
        ends = np.cumsum(sizes)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - sizes, sizes)
        origins = np.array(self._origins, np.int64)
        steps = np.array(self._steps, np.int64)
        offsets = np.repeat(origins, sizes) + within * np.repeat(steps, sizes)
        return SetLine("".join(self._shown), offsets)


def write(text: str, block: Block, spell: Speller, *, odd: Callable[[str], bool]) -> SetLine:
    """A block of source lines as one run. `odd` says whether a line must be spelled out."""
    quick = None if block.joined else _plain_run(text, block, odd)
    if quick is not None:
        return quick
    writer = Writer()
    newline = block.sources[0].start
    for number, (start, end, after) in enumerate(block.sources):
        line = text[start:end]
        content = line.strip(" \t")
        begin = start + (len(line) - len(line.lstrip(" \t")) if content else len(line))
        if content:
            writer.gap(newline)
            if number not in block.joined and begin > start:
                _indent(writer, line[: begin - start], start)
            put(writer, content, begin, spell, odd=odd)
        newline = end
        if after > end and number + 1 not in block.joined:
            writer.put(LINE_END, end, moves=False)
    return writer.run()


def _plain_run(text: str, block: Block, odd: Callable[[str], bool]) -> SetLine | None:
    """The same for lines that are drawn as they stand, all at once; None where some are not."""
    start, end = block.sources[0].start, block.sources[-1].after
    part = text[start:end]
    if "  " in part or "\n " in part or " \n" in part or "\t" in part or part[:1] == " ":
        return None
    if part[-1:] == " " or odd(part.replace("\n", "")):
        return None
    shown = part.replace("\n", _BROKEN)
    while "\x01 \x01" in shown:  # a blank line: its mark behind that of the line above
        shown = shown.replace("\x01 \x01", "\x01\x01")
    shown = shown.removesuffix(" ")
    codes = np.frombuffer(shown.encode("utf-32-le"), np.uint32)
    added = np.flatnonzero(codes[:-1] == 1) + 1
    added = added[codes[added] == 0x20]  # a space behind a mark is not the text's
    sizes = np.diff(added, prepend=0, append=len(codes))
    offsets = np.repeat(np.arange(start, start - len(sizes), -1), sizes)
    offsets += np.arange(len(codes))
    return SetLine(shown, offsets)


def put(
    writer: Writer, content: str, begin: int, spell: Speller, *, odd: Callable[[str], bool]
) -> None:
    """A line without the white space around it."""
    if odd(content):
        at = 0
        for number, cell in enumerate(content.split("\t")):
            if number:
                writer.put(TAB, begin + at - 1, moves=False)
                if cell:
                    writer.gap(begin + at - 1)
            if cell:
                shown, offsets = spell(cell, begin + at)
                if offsets is None:
                    writer.put(shown, begin + at, moves=True)
                else:
                    writer.put_each(shown, offsets)
            at += len(cell) + 1
        return
    done = 0
    if "  " in content:
        for match in _WIDE_GAP.finditer(content):
            writer.put(content[done : match.start()], begin + done, moves=True)
            writer.put(_WIDE, begin + match.start(), moves=True)
            done = match.end()
    writer.put(content[done:], begin + done, moves=True)


def _indent(writer: Writer, blank: str, start: int) -> None:
    """Leading white space as counted marks: a tab, four spaces, one space."""
    at = 0
    while at < len(blank):
        if blank[at] == "\t":
            mark, size = TAB, 1
        elif blank.startswith("    ", at):
            mark, size = FOUR, 4
        else:
            mark, size = ONE, 1
        writer.put(mark, start + at, moves=False)
        at += size
