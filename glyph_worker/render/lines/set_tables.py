"""Tables whose columns line up at stops, and drawings whose characters stand in cells. No pages.

Rows of a narrow table stand side by side, in reading order, each with its mark behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from glyph_worker.render.fonts.cell_width import num_cells, width_in_cells
from glyph_worker.render.fonts.marks import FOUR, LINE_END, ONE
from glyph_worker.render.fonts.scripts import COMPLEX
from glyph_worker.render.lines.forms import Block, Source, rivers
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.typeset import Typesetter
from glyph_worker.render.report import RenderReport

_COLUMN_GAP, _ROW_GAP = 0.6, 1.2
"""Ems between columns, and between rows side by side."""
_MOST_AIR = 3.0
"""A table that takes more than so many times the room of its text is run on instead."""
_SMALL = 8
"""So many rows more are never too many."""
_MOST_COLUMNS = 64
_FEW_ROWS = 6
"""So many rows, and those of a table with rules drawn, always stand below each other."""
_PIPE = re.compile(r"\|")
_PLUS = re.compile(r"\+")
_CROSS = re.compile(r"[+|]")
_RULE = re.compile(r"[\s+|:=-]+\Z")
_RULE_CHARS = 5
"""So much is drawn of a rule in a cell: a long one is letters to a reader of letters."""
_NUMBER = re.compile(r"[-+(]?[$€£¥]?[\d.,:]*\d[%)]?\Z")


class Cell(NamedTuple):
    """What is drawn of one cell, and where its characters come from."""

    shown: str
    offsets: list[int]
    width: float
    """Points."""


def set_table(
    text: str, block: Block, setter: Typesetter, report: RenderReport
) -> Iterator[Line] | None:
    """The rows of a table; None where it is better run on: too wide, too airy, or to be shaped."""
    blank = [one for one in block.sources if not text[one.start : one.end].strip()]
    sources = block.sources[: len(block.sources) - len(blank)]
    if COMPLEX.search(text[sources[0].start : sources[-1].end]):
        return None
    lines = [text[one.start : one.end] for one in sources]
    places = _places(lines)
    if places is None or max(map(len, places)) > _MOST_COLUMNS:
        return None
    own = RenderReport()
    rows = [
        [
            _cell(
                line, source.start, begin, end, setter, own, is_rule=_RULE.match(line) is not None
            )
            for begin, end in columns
        ]
        for line, source, columns in zip(lines, sources, places, strict=True)
    ]
    em, room = setter.style.font_size, setter.later
    count = max(map(len, rows))
    widths = [
        max((row[at].width for row in rows if at < len(row)), default=0.0) for at in range(count)
    ]
    lefts = [sum(widths[:at]) + at * _COLUMN_GAP * em for at in range(count)]
    inset = min(len(line) - len(line.lstrip(" ")) for line in lines)
    margin = (FOUR * (inset // 4) + ONE * (inset % 4)) if inset else ""
    before, mark = setter.glyphs.width_of(margin), setter.glyphs.width_of(LINE_END)
    whole = before + lefts[-1] + widths[-1] + mark
    abreast = int((room + _ROW_GAP * em) / (whole + _ROW_GAP * em))
    drawn = lines[0].lstrip()[:1] in ("|", "+")
    if drawn or len(rows) < _FEW_ROWS:
        abreast = min(abreast, 1)
    text_room = sum(cell.width + _COLUMN_GAP * em for row in rows for cell in row) / room
    airy = -(-len(rows) // max(1, abreast)) > _MOST_AIR * text_room + _SMALL
    if not abreast or (airy and not drawn):
        return None
    report.missing_glyphs.update(own.missing_glyphs)
    right = [
        at
        for at in range(count)
        if _is_number_column([row[at].shown for row in rows[1:] if at < len(row)])
    ]
    return _table_lines(
        rows,
        sources,
        _Grid(abreast, whole + _ROW_GAP * em, before, lefts, widths, set(right), margin),
        blank,
    )


class _Grid(NamedTuple):
    """Where the columns of a table stand, points."""

    abreast: int
    step: float
    before: float
    lefts: list[float]
    widths: list[float]
    right: set[int]
    """Columns whose cells end at one edge."""
    margin: str


def _table_lines(
    rows: list[list[Cell]], sources: list[Source], grid: _Grid, blank: list[Source]
) -> Iterator[Line]:
    """The rows; blank lines below the table leave a mark each behind the last."""
    for first in range(0, len(rows), grid.abreast):
        last = min(len(rows), first + grid.abreast)
        shown: list[str] = []
        offsets: list[int] = []
        stops: list[tuple[int, float]] = []
        for number in range(first, last):
            source, left = sources[number], (number - first) * grid.step
            if number > first:
                shown.append(" ")
                offsets.append(sources[number - 1].end)
            stops.append((len(offsets), left))
            if grid.margin:
                shown.append(grid.margin)
                offsets.extend(_margin_offsets(grid.margin, source.start))
            for at, cell in enumerate(rows[number]):
                if not cell.shown:
                    continue
                if (
                    offsets
                    and shown[-1] not in (" ", grid.margin)
                    and cell.offsets[0] > offsets[-1] + 1
                ):
                    shown.append(" ")
                    offsets.append(offsets[-1] + 1)
                spare = grid.widths[at] - cell.width if at in grid.right else 0.0
                stops.append((len(offsets), left + grid.before + grid.lefts[at] + spare))
                shown.append(cell.shown)
                offsets.extend(cell.offsets)
            if source.after > source.end:
                shown.append(LINE_END)
                offsets.append(source.end)
        after = sources[last - 1].after
        if last == len(rows):
            for source in blank:
                if source.after > source.end:
                    shown.append(LINE_END)
                    offsets.append(source.end)
                after = source.after
        yield Line(
            sources[first].start,
            after,
            "".join(shown),
            True,
            offsets,
            stops=tuple(stops),
        )


def _margin_offsets(margin: str, start: int) -> Iterator[int]:
    for mark in margin:
        yield start
        start += 4 if mark == FOUR else 1


def _places(lines: list[str]) -> list[list[tuple[int, int]]] | None:
    """Begin and end of every line's cells, without the white space around them."""
    if all("\t" in line.strip() for line in lines):
        return [_stripped(line, _split(line, re.compile("\t"), keep=False)) for line in lines]
    if all(line.lstrip()[:1] in ("|", "+") for line in lines):
        found = []
        crosses = [match.start() for match in _PLUS.finditer(lines[0])]
        for line in lines:
            if crosses and all(line[at : at + 1] in ("|", "+") for at in crosses):
                cuts = list(zip(crosses, [*crosses[1:], len(line)], strict=True))  # a grid's
                found.append(_stripped(line, cuts))
                continue
            at = _CROSS if _RULE.match(line) else _PIPE
            found.append(_stripped(line, _split(line, at, keep=True)))
        return found
    columns = rivers(lines)
    if len(columns) < 2:
        return None
    return [
        _stripped(line, [(begin, min(end, len(line))) for begin, end in columns]) for line in lines
    ]


def _split(line: str, at: re.Pattern[str], *, keep: bool) -> list[tuple[int, int]]:
    """Stretches between matches; `keep`: a match opens the stretch behind it."""
    out, begin = [], 0
    for match in at.finditer(line):
        if match.start() > begin or not keep:
            out.append((begin, match.start()))
        begin = match.start() if keep else match.end()
    return [*out, (begin, len(line))]


def _stripped(line: str, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    out = []
    for begin, end in places:
        part = line[begin:end] if begin < end else ""
        lead = len(part) - len(part.lstrip())
        out.append((begin + lead, begin + lead + len(part.strip())))
    return out


def _cell(
    line: str,
    start: int,
    begin: int,
    end: int,
    setter: Typesetter,
    report: RenderReport,
    *,
    is_rule: bool,
) -> Cell:
    shown, offsets = setter.speller.spell(line[begin:end], start + begin, report)
    own = offsets if offsets is not None else list(range(start + begin, start + begin + len(shown)))
    if is_rule and len(shown) > _RULE_CHARS:
        # How long it was drawn says nothing of its column here; a colon at its end says how that
        # is aligned.
        kept = _RULE_CHARS - shown.endswith(":")
        shown = shown[:kept] + shown[len(shown) + kept - _RULE_CHARS :]
        own = own[:kept] + own[len(own) + kept - _RULE_CHARS :]
    width = float(setter.glyphs.widths_of(shown).sum()) if shown else 0.0
    return Cell(shown, own, width)


def _is_number_column(cells: list[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return len(filled) > 1 and sum(map(bool, map(_NUMBER.match, filled))) >= 0.8 * len(filled)


def set_cells(
    text: str, block: Block, setter: Typesetter, report: RenderReport
) -> Iterator[Line] | None:
    """The lines of a drawing, a character a cell of the monospaced font; None where one is too wide
    or to be shaped."""
    sources = block.sources
    if COMPLEX.search(text[sources[0].start : sources[-1].end]):
        return None
    own = RenderReport()
    room = int(setter.later / setter.glyphs.cell)
    lines = []
    for start, end, after in sources:
        shown, offsets = _celled(text[start:end].rstrip(), start, setter, own)
        if width_in_cells(shown) > room:
            return None
        lines.append(Line(start, after, shown, True, offsets, mono=True))
    report.missing_glyphs.update(own.missing_glyphs)
    return iter(lines)


def _celled(
    line: str, start: int, setter: Typesetter, report: RenderReport
) -> tuple[str, list[int]]:
    """Tabs as spaces up to the next stop, what no font has as escapes."""
    shown: list[str] = []
    offsets: list[int] = []
    column, width = 0, setter.style.tab_width
    for at, char in enumerate(line):
        if char == "\t":
            part = "\u00a0" * (width - column % width)
        elif char == " " or char.isspace():
            part = "\u00a0" * max(1, num_cells(char))
        else:
            part, _ = setter.speller.spell(char, start + at, report)
        shown.append(part)
        offsets.extend([start + at] * len(part))
        column += width_in_cells(part)
    return "".join(shown), offsets
