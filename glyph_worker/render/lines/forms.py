"""Which lines belong together and how they are best set: run on, as a table, in cells. By content
alone, so that an edit changes nothing far from it. No widths, no fonts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

RUN, TABLE, CELLS = "run", "table", "cells"
"""Lines one after the other with marks between; columns at stops; one character a cell."""

_LEAST_LINES, _MOST_LINES = 40, 192
"""Lines looked at together, where no blank one parts them."""
_BYTES_TO_BREAK = 3_000
"""On average, after so many bytes of UTF-8, what is run on starts a new row, so that an edit moves
only what stands before the next such place."""
_MOST_CHARS = 16_384

_BOX = re.compile("[\u2500-\u259f]")
_PIPES = re.compile(r"\s*(?:\|.*\||\+[-=+]{3,}\+)\s*\Z")
_INNER_TAB = re.compile(r"[^\t ] *\t+ *[^\t ]")
_WIDEST = 120
"""Longer lines were not wrapped by anybody."""
_WORD, _WORDS = re.compile(r"\S+"), re.compile(r"\S+(?: \S+)*")
_MANY_LINES = 12
_FIGURE = re.compile(r"[\d.,:%+-]*\Z")
_LETTERS = re.compile(r"[^\W\d_]")
_BULLET = re.compile(r"(?:[-*+\u2022]|\(?\d{1,3}[.)]|[A-Za-z][.)])\s")
_NOT_PROSE = re.compile(r"[][{}<>=|;_\\#$@^~]")


class Source(NamedTuple):
    """One source line of the normalised text."""

    start: int
    end: int
    after: int
    """Start of the next line; `end` where the text ends."""


class Block(NamedTuple):
    """Source lines that are set together; the next block starts on a new row."""

    kind: str
    sources: list[Source]
    joined: frozenset[int]
    """Of those, by number, which continue the paragraph of the line before (RUN)."""


def blocks(
    text: str, sources: Iterator[tuple[int, int, int]], *, by_content: bool
) -> Iterator[Block]:
    """The blocks of a text, in order; they tile its source lines."""
    held: list[Source] = []
    joined: set[int] = set()
    size = 0
    before = ""
    table: Block | None = None
    for stretch, lines in _stretches(text, sources):
        if len(lines) == 1 and table is None:  # a paragraph or a blank line: nothing to look at
            line = lines[0]
            if not by_content or line.isascii() or not _BOX.search(line):
                held += stretch
                size += len(line) + 1
                if _breaks(before, line) or size > _MOST_CHARS:
                    yield Block(RUN, held, frozenset(joined))
                    held, joined, size = [], set(), 0
                before = line
                continue
        if table is not None:
            if not lines[0].strip():  # a blank line below a table takes no row of its own
                table.sources.extend(stretch)
                continue
            yield table
            table = None
        plain = not by_content or _is_plain(text, stretch[0].start, stretch[-1].end)
        for kind, low, high in [(RUN, 0, len(lines))] if plain else _parts(lines):
            if kind != RUN:
                if held:
                    yield Block(RUN, held, frozenset(joined))
                    held, joined, size = [], set(), 0
                if table is not None:
                    yield table
                table = Block(kind, stretch[low:high], frozenset())
                before = lines[high - 1]
                continue
            if table is not None:
                yield table
                table = None
            own = _joined(lines[low:high]) if by_content else frozenset()
            for number in range(high - low):
                line = lines[low + number]
                if number in own:
                    joined.add(len(held))
                held.append(stretch[low + number])
                size += len(line) + 1
                if number + 1 not in own and (_breaks(before, line) or size > _MOST_CHARS):
                    yield Block(RUN, held, frozenset(joined))
                    held, joined, size = [], set(), 0
                before = line
    if table is not None:
        yield table
    if held:
        yield Block(RUN, held, frozenset(joined))


def _breaks(before: str, line: str) -> bool:
    """Whether a new row starts after this line: as often as it is long, at random by content."""
    if line == before or not line:
        return False
    raw = line.encode()
    return crc32(raw, crc32(before.encode())) % _BYTES_TO_BREAK <= len(raw)


def _stretches(
    text: str, sources: Iterator[tuple[int, int, int]]
) -> Iterator[tuple[list[Source], list[str]]]:
    """Lines without a blank one between them, and their text; a blank one is alone."""
    held: list[Source] = []
    lines: list[str] = []
    for source in sources:
        line = text[source[0] : source[1]]
        blank = not line or line.isspace()
        if held and (blank or _cuts(line, len(held))):
            yield held, lines
            held, lines = [], []
        held.append(Source._make(source))
        lines.append(line)
        if blank:
            yield held, lines
            held, lines = [], []
    if held:
        yield held, lines


def _cuts(line: str, count: int) -> bool:
    """Whether a stretch of so many lines ends before this one; by content, as rows break."""
    if count < _LEAST_LINES:
        return False
    return count == _MOST_LINES or not crc32(line.encode()) % _LEAST_LINES


def _is_plain(text: str, start: int, end: int) -> bool:
    """Whether nothing in a stretch can be part of a table; a quick look."""
    part = text[start:end]
    if "  " in part or "\t" in part or "|" in part or "+-" in part or "+=" in part:
        return False
    return part.isascii() or _BOX.search(part) is None


def _parts(lines: list[str]) -> list[tuple[str, int, int]]:
    """A stretch cut into what is set alike: kind, first line, end."""
    out: list[tuple[str, int, int]] = []
    for look, group in itertools.groupby(range(len(lines)), key=lambda at: _look(lines[at])):
        numbers = list(group)
        low, high = numbers[0], numbers[-1] + 1
        own = lines[low:high]
        kind = RUN
        if look == "box":
            kind = CELLS
        elif look == "gaps":
            many = len(own) >= 0.7 * len(lines)  # fewer are alike by chance, as in a log
            kind = TABLE if many and _lined_up(own) else RUN
        elif look and len(own) > 1:
            kind = TABLE
        if out and kind == RUN == out[-1][0]:
            out[-1] = (RUN, out[-1][1], high)
        else:
            out.append((kind, low, high))
    return out


def _look(line: str) -> str:
    """What kind of table a line could be part of; empty for none."""
    if not line.isascii() and len(_BOX.findall(line)) > 1:
        return "box"
    if ("|" in line or "+--" in line or "+==" in line) and _PIPES.match(line):
        return "pipes"
    if "\t" in line and _INNER_TAB.search(line):
        return "tabs"
    return "gaps" if "  " in line.strip() else ""


def _lined_up(lines: list[str]) -> bool:
    """Whether lines with gaps are a table: at least two columns, all indented alike."""
    if len(lines) < 3:
        return False
    columns = rivers(lines)
    worded = [
        sum(any(map(str.isalnum, line[begin:end])) for line in lines) * 2 > len(lines)
        for begin, end in columns
    ]
    if sum(worded) < 2:  # a comment's sign is no column
        return False
    if len({_indent(line) for line in lines}) == 1:
        return True
    begin, end = columns[0]
    return all(_FIGURE.match(line[begin:end].strip()) for line in lines[1:])


def rivers(lines: list[str]) -> list[tuple[int, int]]:
    """Columns of a table set with spaces: begin and end of every stretch of characters that some
    line fills, parted by two blank characters or more in all of them; by one in many lines, which
    chance does not line up. One stretch: no table."""
    width = max(map(len, lines))
    if width > 400:
        return [(0, width)]
    filled = [False] * width
    words = _WORD if len(lines) >= _MANY_LINES else _WORDS
    for line in lines:
        for match in words.finditer(line):
            filled[match.start() : match.end()] = [True] * (match.end() - match.start())
    out: list[tuple[int, int]] = []
    begin = 0
    while begin < width:
        if not filled[begin]:
            begin += 1
            continue
        end = begin
        while end < width and filled[end]:
            end += 1
        out.append((begin, end))
        begin = end
    return out


def _joined(lines: list[str]) -> frozenset[int]:
    """Lines that only continue a paragraph which was wrapped at some width, by number."""
    if not any(len(line) <= _WIDEST and line.count(" ") > 2 for line in lines[:-1]):
        return frozenset()
    found: set[int] = set()
    begin = 0
    for number in range(1, len(lines) + 1):
        if number == len(lines) or _opens(lines, begin, number):
            if number - begin > 1 and _wrapped(lines[begin:number]):
                found.update(range(begin + 1, number))
            begin = number
    return frozenset(found)


def _opens(lines: list[str], begin: int, number: int) -> bool:
    """Whether a line cannot continue the paragraph that began at `begin`."""
    line = lines[number]
    if len(line) > _WIDEST or len(lines[number - 1]) > _WIDEST:
        return True
    if _BULLET.match(line.lstrip()):
        return True
    indent = _indent(line)
    if number == begin + 1:
        first = lines[begin]
        hanging = _BULLET.match(first.lstrip())
        return (indent < _indent(first) and not hanging) or indent > _indent(first) + 8
    return indent != _indent(lines[number - 1])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _wrapped(lines: list[str]) -> bool:
    """Whether no line had room for the first word of the next, and all are prose."""
    stripped = [line.rstrip() for line in lines]
    width = max(map(len, stripped))
    if width < 40 or width > _WIDEST:
        return False
    for line, following in itertools.pairwise(stripped):
        word = following.split(None, 1)[0]
        if len(line) + 1 + len(word) < width - 1 or line.endswith((":", "{", "\\")):
            return False
    whole = "".join(stripped)
    letters = len(_LETTERS.findall(whole))
    solid = len(whole) - whole.count(" ")
    words = min(len(line.split()) for line in stripped[:-1])
    return letters >= 0.8 * solid and len(_NOT_PROSE.findall(whole)) <= 0.02 * solid and words >= 3
