"""Source lines to reportlab's paragraphs of drawn lines, for `exact`. No pages, no pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.measure import Ruler
from glyph_worker.render.lines.typeset import Typesetter, source_lines
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.style import Style

LINES_PER_PARAGRAPH = 30
_WHITE = (
    "\t \u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
"""White space to reportlab: no-break space is none."""


class Paragraphs:
    """Sets 30 source lines at a time, as the reference hands them to reportlab."""

    def __init__(self, style: Style, setter: Typesetter) -> None:
        self._style = style
        self._setter = setter

    def of(
        self, text: str, report: RenderReport, by_chars: bool
    ) -> Iterator[tuple[list[Line], int, int]]:
        """The drawn lines of 30 source lines at a time, and the characters they stand for."""
        held: list[tuple[int, int, int]] = []
        ruler = self._setter.ruler(text)
        # The reference splits at every line end: a text that ends with one has a last, empty line.
        for source in _with_empty_end(text):
            held.append(source)
            if len(held) == LINES_PER_PARAGRAPH:
                yield self._set(text, held, ruler, report, by_chars), held[0][0], source[2]
                held = []
        if held:
            # reportlab takes one blank line, or two, for a paragraph without any.
            blank = len(held) <= 2 and not text[held[0][0] :].strip()
            lines = [] if blank else self._set(text, held, ruler, report, by_chars)
            yield lines, held[0][0], held[-1][2]

    def _set(
        self,
        text: str,
        sources: list[tuple[int, int, int]],
        ruler: Ruler,
        report: RenderReport,
        by_chars: bool,
    ) -> list[Line]:
        lines: list[Line] = []
        last = len(sources) - 1
        parts = [(text[start:end], start, after) for start, end, after in sources]
        parts[0] = _without_head(*parts[0])
        parts[-1] = _without_tail(*parts[-1])
        if self._style.marker and not self._style.marker_breaks:
            lines += self._setter.set_run_on(parts, ruler, report, by_chars=by_chars)
            return _from(
                sources[0][0], [line for line in lines if line.shown or line.end > line.start]
            )

        def set_part(number: int) -> Iterable[Line]:
            return self._setter.set_line(
                *parts[number],
                ruler,
                report,
                by_chars=by_chars,
                indent=number == 0,
                simple=number == last,
            )

        lines += set_part(0)
        inner = self._setter.set_lines(sources[1:-1], ruler, by_chars=by_chars)
        if inner is None:
            inner = [line for number in range(1, last) for line in set_part(number)]
        lines += inner
        if last:
            lines += set_part(last)
        lines = _from(sources[0][0], lines)
        if by_chars and last == 0 and not _ENTITIES.search(text, *sources[0][:2]):
            lines = [_bare(line) for line in lines[:-1]] + lines[-1:]
        if len(lines) > 1 and not lines[-1].shown:
            # Nothing is drawn for it; its characters go to the line above.
            gone = lines.pop()
            lines[-1] = lines[-1]._replace(end=gone.end)
        return lines


def _without_head(text: str, start: int, after: int) -> tuple[str, int, int]:
    """Without the white space that reportlab strips from a paragraph's start; runs of spaces stay,
    for they are no white space to it any more."""
    blank = text[: len(text) - len(text.lstrip(_WHITE))]
    run = blank.find("  ")
    cut = run if run >= 0 else len(blank)
    return text[cut:], start + cut, after


def _without_tail(text: str, start: int, after: int) -> tuple[str, int, int]:
    """The same for its end."""
    kept = len(text.rstrip(_WHITE))
    run = text[kept:].rfind("  ")
    return text[: kept + run + 2] if run >= 0 else text[:kept], start, after


def _from(start: int, lines: list[Line]) -> list[Line]:
    """The lines of a paragraph, the first of them beginning at `start`."""
    if lines and lines[0].start != start:
        first = lines[0]
        own = range(first.start, first.start + len(first.shown))
        lines[0] = first._replace(start=start, offsets=first.offsets or own)
    return lines


_ENTITIES = re.compile("[&<>]|  ")


def _bare(line: Line) -> Line:
    """A line of characters without the spaces around it (reportlab's plain paragraphs)."""
    shown = line.shown.strip()
    if shown == line.shown:
        return line
    cut = len(line.shown) - len(line.shown.lstrip())
    offsets = range(line.start, line.end) if line.offsets is None else line.offsets
    return line._replace(shown=shown, offsets=offsets[cut : cut + len(shown)])


def _with_empty_end(text: str) -> Iterator[tuple[int, int, int]]:
    yield from source_lines(text)
    if text.endswith("\n"):
        yield len(text), len(text), len(text)
