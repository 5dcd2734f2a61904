"""Source lines to drawn lines at point precision, for `exact` and `flow`. No pages, no pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np

from glyph_worker.render.fonts.glyphs import Glyphs
from glyph_worker.render.fonts.reference_numbers import as_poppler_reads
from glyph_worker.render.fonts.scripts import COMPLEX
from glyph_worker.render.fonts.shaping import Shaper, is_rtl, paragraph_levels
from glyph_worker.render.lines.block_lines import TOUCH, SetLine
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.measure import Ruler, running_sums
from glyph_worker.render.lines.spelling import Speller
from glyph_worker.render.lines.wrap import Piece, wrap_chars, wrap_words
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.limits import FRAME_PADDING
from glyph_worker.render.style.style import Style

CJK = re.compile("[\u4e00-\u9fff]")
"""What makes the reference break a whole document by characters (exact)."""
WIDE = re.compile(
    "[\u2e80-\u303f\u3041-\u30ff\u3105-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""What makes a paragraph break by characters (flow)."""
_FIRST = Line._fields.index("plain")
_ORDINARY = Line(0, 0, "", True)[_FIRST:]


class Typesetter:
    """Breaks source lines into drawn lines of one style."""

    def __init__(self, style: Style) -> None:
        self.style = style
        self.glyphs = Glyphs(style.fonts, style.font_size, style.scale, style.mono_font)
        self.shaper = Shaper(
            style.fonts,
            space=self.glyphs.char_width(" "),
            mark_width=self.glyphs.char_width,
        )
        self.speller = Speller(
            style.fonts, tab_width=style.tab_width, collapse=style.layout == "exact"
        )
        x1, x2 = style.margin_x, style.margin_x + (style.page_size[0] - 2 * style.margin_x)
        self._ragged = style.alignment == "LEFT" and not style.first_line_indent
        self.frame_left = as_poppler_reads(x1 + FRAME_PADDING)
        self.frame_width = x2 - x1 - FRAME_PADDING - FRAME_PADDING
        self.later = self.frame_width - style.left_indent - style.right_indent
        self.first = (
            self.frame_width - (style.left_indent + style.first_line_indent) - style.right_indent
        )

    def ruler(self, text: str) -> Ruler:
        """What measures a document; one for each."""
        room = self.later if self.first == self.later else None
        hang = self.style.layout == "exact"
        return Ruler(text, self.glyphs, self.speller.kind_of, room, hang=hang)

    def set_line(
        self,
        text: str,
        start: int,
        after: int,
        ruler: Ruler,
        report: RenderReport,
        *,
        by_chars: bool,
        indent: bool = False,
        simple: bool = False,
    ) -> Iterable[Line]:
        """One source line, text[0] at `start`, the next source line at `after`.

        A blank line gives one empty line. `indent`: it opens a paragraph (first-line-indent);
        `simple`: it closes one (exact), so that its last line may be squeezed when justified.
        """
        shown, offsets = self.speller.spell(text, start, report)
        if offsets is None and not self.style.marker:
            run = ruler.run(start, start + len(text), by_chars=by_chars)
            if run is not None:
                if run.lines[-1].end != after:  # at the text's end
                    run.lines[-1] = run.lines[-1]._replace(end=after)
                return run.lines if self._ragged else self._aligned_run(run, simple)
        marked = self.style.marker and after > start + len(text) and not simple
        if marked:
            shown, offsets, marks = self._with_marker([(shown, offsets, start)], after, by_chars)
        if offsets is not None and COMPLEX.search(shown):
            lines = self._shaped_lines(shown, offsets, start, after, indent)
        else:
            at = None if offsets is not None else start
            pieces = self._pieces(shown, at, ruler, indent, by_chars)
            lines = self._lines(shown, offsets, start, after, pieces, indent, simple, by_chars)
        return self._with_marks(lines, marks, shown) if marked else lines

    def set_lines(
        self, sources: list[tuple[int, int, int]], ruler: Ruler, *, by_chars: bool
    ) -> list[Line] | None:
        """Source lines (start, end, next start) as `set_line` would set one after the other; None
        where they are not to be had at once."""
        if self.style.marker or not self._ragged or not sources:
            return None
        first, (last, end, _) = sources[0][0], sources[-1]
        return ruler.lines(first, last, end, len(sources), by_chars=by_chars)

    def _aligned_run(self, run: SetLine, simple: bool) -> Iterator[Line]:
        for line, extra, num_words in zip(*run, strict=True):
            last = line.ends_paragraph
            if not line.shown:  # nothing stands on it: it has no place, whichever way it is set
                yield line
                continue
            left, space = self._aligned(extra, num_words, line.shown, last, False, simple, False)
            yield line._replace(left=left, word_space=space)

    def set_run_on(
        self,
        sources: list[tuple[str, int, int]],
        ruler: Ruler,
        report: RenderReport,
        *,
        by_chars: bool,
    ) -> Iterator[Line]:
        """Source lines (text, start, next start) run together, markers between them (exact)."""
        spelled = [(*self.speller.spell(text, start, report), start) for text, start, _ in sources]
        shown, offsets, marks = self._with_marker(spelled, None, by_chars)
        start, after = sources[0][1], sources[-1][2]
        if COMPLEX.search(shown):
            lines = self._shaped_lines(shown, offsets, start, after, True)
        else:
            pieces = self._pieces(shown, None, ruler, True, by_chars)
            lines = self._lines(shown, offsets, start, after, pieces, True, True, by_chars)
        for line in self._with_marks(lines, marks, shown):
            yield line._replace(ends_paragraph=line.end == after)

    def _with_marker(
        self,
        spelled: list[tuple[str, list[int] | None, int]],
        after: int | None,
        by_chars: bool,
    ) -> tuple[str, list[int], list[tuple[int, int]]]:
        """Lines and markers as one string: its offsets, and where the markers are in it.

        `after` None: no marker behind the last line.
        """
        mark = self.style.marker if by_chars else self.style.marker.strip()
        shown: list[str] = []
        offsets: list[int] = []
        marks: list[tuple[int, int]] = []
        length = 0

        def put(part: str, origin: list[int], *, is_mark: bool) -> None:
            nonlocal length
            if not by_chars and length and part:
                shown.append(" ")
                offsets.append(origin[0] if is_mark else offsets[-1])  # the line end's
                length += 1
            shown.append(part)
            offsets.extend(origin)
            length += len(part)

        for number, (text, own, start) in enumerate(spelled):
            part = text if by_chars else text.strip(" ")
            cut = 0 if by_chars else len(text) - len(text.lstrip(" "))
            origin = own[cut:] if own is not None else list(range(start + cut, start + len(text)))
            put(part, origin[: len(part)], is_mark=False)
            if number < len(spelled) - 1 or after is not None:
                end = spelled[number + 1][2] - 1 if after is None else after - 1
                put(mark, [end] * len(mark), is_mark=True)
                marks.append((length - len(mark), length))
        return "".join(shown), offsets, marks

    def _with_marks(
        self, lines: Iterator[Line], marks: list[tuple[int, int]], shown: str
    ) -> Iterator[Line]:
        """Give every line the markers on it; `lines` are cut from `shown` in order."""
        at = 0
        for line in lines:
            begin = shown.find(line.shown, at)
            end = at = begin + len(line.shown)
            own = tuple(
                (max(low, begin) - begin, min(high, end) - begin)
                for low, high in marks
                if low < end and high > begin
            )
            yield line._replace(marked=own)

    def _lines(
        self,
        shown: str,
        offsets: list[int] | None,
        start: int,
        after: int,
        pieces: Iterator[Piece],
        indent: bool,
        simple: bool,
        by_chars: bool,
    ) -> Iterator[Line]:
        held = next(pieces, None)
        if held is None:
            yield Line(start, after, "", True, range(0))
            return
        begin, number = start, 0
        while held is not None:
            following = next(pieces, None)
            last = following is None
            if following is None:
                end = after
            else:
                end = start + following.begin if offsets is None else offsets[following.begin]
            drawn = shown[held.begin : held.end]
            own: Sequence[int] | None = None
            if offsets is not None:
                own = offsets[held.begin : held.end]
            elif held.begin + start != begin:  # spaces stripped before the line
                own = range(start + held.begin, start + held.end)
            if self._ragged and held.extra > -TOUCH:
                left, space = 0.0, 0.0
            else:
                opens = indent and number == 0
                left, space = self._aligned(
                    held.extra, held.num_words, drawn, last, opens, simple, by_chars
                )
            yield Line(begin, end, drawn, last, own, True, left, space)
            begin, held, number = end, following, number + 1

    def _shaped_lines(
        self, shown: str, offsets: list[int], start: int, after: int, indent: bool
    ) -> Iterator[Line]:
        """Lines that need shaping; paragraphs that run right to left start at the right."""
        points = self.style.font_size / 1000
        pieces = wrap_words(
            shown,
            width_of=lambda word: self.shaper.width(word) * points,
            first=self.first if indent else self.later,
            later=self.later,
            space=self.glyphs.space,
            shrink=0.0,  # shaped lines are never squeezed
            parts_of=self.shaper.clusters,
        )
        rtl = is_rtl(shown)
        levels = paragraph_levels(shown, rtl=rtl)
        flush = rtl and self.style.alignment in ("LEFT", "JUSTIFY")
        noted: list[Piece] = []

        def notes() -> Iterator[Piece]:
            for piece in pieces:
                noted.append(piece)
                yield piece

        for line in self._lines(shown, offsets, start, after, notes(), indent, False, False):
            piece = noted.pop(0) if noted else Piece(0, 0, 0.0, 0)
            left = max(0.0, piece.extra) if flush else line.left
            own = levels[piece.begin : piece.end]
            plain = not line.shown
            yield line._replace(plain=plain, left=left, word_space=0.0, rtl=rtl, levels=own)

    def _pieces(
        self, shown: str, start: int | None, ruler: Ruler, indent: bool, by_chars: bool
    ) -> Iterator[Piece]:
        """Pieces of a source line; `start` is its offset if it is drawn as it stands."""
        first = self.first if indent else self.later
        if not by_chars:
            width, space = self.glyphs.width_of, self.glyphs.space
            return wrap_words(shown, width_of=width, first=first, later=self.later, space=space)
        sums = None if start is None else ruler.sums(start, start + len(shown))
        if sums is None:
            sums = running_sums(self.glyphs.widths_of(shown))
        codes = np.frombuffer(shown.encode("utf-32-le"), np.uint32)
        hang = self.style.layout == "exact"
        places, extras = wrap_chars(
            codes, sums, [0], [len(codes)], first=first, later=self.later, hang=hang
        )
        if not places[0, 3]:
            return iter(())
        return map(Piece, *places[:, 1:3].T.tolist(), extras.tolist(), repeat(1))

    def _aligned(
        self,
        extra: float,
        num_words: int,
        shown: str,
        last: bool,
        indent: bool,
        simple: bool,
        by_chars: bool,
    ) -> tuple[float, float]:
        """Pen start (points from the frame) and word space of a line."""
        style = self.style
        left = style.first_line_indent if indent else 0.0
        if style.alignment == "JUSTIFY":
            ragged = last and (not simple or extra > -TOUCH)
            if ragged or -TOUCH < extra <= TOUCH:
                return left, 0.0
        elif extra > -TOUCH:
            if style.alignment == "CENTER":
                left += 0.5 * extra
            elif style.alignment == "RIGHT":
                left += extra
            return left, 0.0
        spaces = shown.count("\u00a0") + (0 if by_chars else num_words - 1)
        return left, as_poppler_reads(extra / spaces) if spaces > 0 else 0.0


def source_lines(text: str) -> Iterator[tuple[int, int, int]]:
    """Start, end and next start of every source line; none after a final line end."""
    start, size = 0, len(text)
    while start < size:
        stop = text.find("\n", start)
        if stop < 0:
            yield start, size, size
            return
        yield start, stop, stop + 1
        start = stop + 1


def joined(lines: Sequence[Line]) -> str:
    """All that decides the pixels of a run of lines, as one string for the digest."""
    special = [
        (index, *line[_FIRST:])
        for index, line in enumerate(lines)
        if line[_FIRST:] != _ORDINARY and _is_special(line)
    ]
    return "\n".join([line.shown for line in lines]) + f"\n\n{special!r}"


def _is_special(line: Line) -> bool:
    moved = line.left or line.word_space or line.marked or line.stops or line.mono
    return bool(moved) or not line.plain
