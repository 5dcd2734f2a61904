"""Blocks of source lines to rows, for `flow` with a form: run on, tables, drawings. No pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np

from glyph_worker.render.fonts.reference_numbers import as_poppler_reads
from glyph_worker.render.fonts.scripts import COMPLEX
from glyph_worker.render.fonts.shaping import is_rtl, paragraph_levels
from glyph_worker.render.lines.block_lines import TOUCH
from glyph_worker.render.lines.forms import CELLS, TABLE, Block, Source, blocks
from glyph_worker.render.lines.line import Line
from glyph_worker.render.lines.measure import running_sums
from glyph_worker.render.lines.run_on import SetLine, write
from glyph_worker.render.lines.set_tables import set_cells, set_table
from glyph_worker.render.lines.typeset import WIDE, Typesetter, source_lines
from glyph_worker.render.lines.wrap import SHRINK, Piece, wrap_chars, wrap_words
from glyph_worker.render.loops.blit import fastest
from glyph_worker.render.loops.wrap_loop import NEWLINE, SIMPLE, SPACE
from glyph_worker.render.report import RenderReport

_CHUNK = 65_536
"""Characters wrapped at once."""
_WHOLE = 0.3
"""Of a row: longer words (addresses, paths, hashes) begin on the row before, as far as they fit."""


class RunSetter:
    """Rows of a document in one style's form."""

    def __init__(self, setter: Typesetter) -> None:
        self._setter = setter
        self._by_content = setter.style.form == "auto"

    def lines(self, text: str, report: RenderReport) -> Iterator[Line]:
        """The rows of a normalised text, in order; they tile it."""
        held: list[tuple[SetLine, int, int]] = []
        size, by_chars = 0, False
        for block, rtl in self._blocks(text):
            start, end = block.sources[0].start, block.sources[-1].after
            rows: Iterable[Line] | None = None
            if block.kind == TABLE:
                rows = set_table(text, block, self._setter, report)
            elif block.kind == CELLS:
                rows = set_cells(text, block, self._setter, report)
            run, wide = None, by_chars
            if rows is None:
                run = self._written(text, block, report)
                if rtl is not None:
                    rows = self._shaped(run, start, end, rtl)
                else:
                    wide = not run.shown.isascii() and WIDE.search(run.shown) is not None
            if rows is not None or size > _CHUNK or wide != by_chars:
                yield from self._wrapped(held, by_chars)
                held, size, by_chars = [], 0, wide
            if rows is not None:
                yield from rows
            elif run is not None:
                held.append((run, start, end))
                size += len(run.shown)
        yield from self._wrapped(held, by_chars)

    def _blocks(self, text: str) -> Iterator[tuple[Block, bool | None]]:
        """The blocks; with those that need shaping whether they run right to left."""
        for block in blocks(text, source_lines(text), by_content=self._by_content):
            start, end = block.sources[0].start, block.sources[-1].after
            part = text[start:end]
            if block.kind == CELLS or part.isascii() or not COMPLEX.search(part):
                yield block, None
            else:
                yield from _by_direction(text, block)

    def _written(self, text: str, block: Block, report: RenderReport) -> SetLine:
        speller = self._setter.speller
        return write(
            text,
            block,
            lambda part, start: speller.spell(part, start, report),
            odd=lambda part: "\t" in part or (not part.isascii() and speller.needs(part)),
        )

    def _wrapped(self, held: list[tuple[SetLine, int, int]], by_chars: bool) -> Iterator[Line]:
        """Rows of runs of plain characters, wrapped together."""
        if not held:
            return
        shown = "\n".join([run.shown for run, _, _ in held])
        ends = np.cumsum([len(run.shown) + 1 for run, _, _ in held])
        codes = np.frombuffer(shown.encode("utf-32-le"), np.uint32)
        if by_chars:
            places, extras = self._by_chars(codes, ends)
        else:
            places, extras = self._by_words(shown, codes)
        at, row = 0, 0
        stops = np.searchsorted(places[:, 0], ends)
        for (run, start, end), stop, after in zip(held, stops.tolist(), ends.tolist(), strict=True):
            own = places[row:stop] - [at, at, at, 0]
            pieces = (own[:, 1], own[:, 2], extras[row:stop], own[:, 3])
            yield from _rows(run, start, end, *(column.tolist() for column in pieces))
            at, row = after, stop

    def _by_chars(self, codes: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of characters as char_loop gives them; codes uint32[n], each run up to before its
        end int64[num_runs]."""
        glyphs, room = self._setter.glyphs, self._setter.later
        sums = running_sums(glyphs.thousandths_of(codes) * glyphs.points)
        starts = np.append(0, ends[:-1])
        return wrap_chars(codes, sums, starts, ends - 1, first=room, later=room, hang=False)

    def _by_words(self, shown: str, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of words as wrap_loop gives them."""
        glyphs, room = self._setter.glyphs, self._setter.later
        wrap = fastest().wrap
        if wrap is not None:
            kinds = np.full(len(codes), SIMPLE, np.uint8)
            kinds[codes == 0x20], kinds[codes == 0x0A] = SPACE, NEWLINE
            widths = glyphs.thousandths_of(codes)
            found: tuple[np.ndarray, np.ndarray] = wrap(
                kinds, widths, glyphs.points, room, glyphs.space, SHRINK, _WHOLE * room
            )
            return found
        places, extras, at = [], [], 0
        for part in shown.split("\n"):
            pieces = list(
                wrap_words(
                    part,
                    width_of=glyphs.width_of,
                    first=room,
                    later=room,
                    space=glyphs.space,
                    whole=_WHOLE * room,
                )
            )
            for begin, end, extra, words in pieces or [Piece(0, 0, room, 0)]:
                places.append((at, at + begin, at + end, words))
                extras.append(extra)
            at += len(part) + 1
        return np.array(places, np.int32), np.array(extras)

    def _shaped(self, run: SetLine, start: int, end: int, rtl: bool) -> Iterator[Line]:
        setter = self._setter
        points = setter.style.font_size / 1000
        pieces = list(
            wrap_words(
                run.shown,
                width_of=lambda word: setter.shaper.width(word) * points,
                first=setter.later,
                later=setter.later,
                space=setter.glyphs.space,
                shrink=0.0,  # shaped lines are never squeezed
                parts_of=setter.shaper.clusters,
            )
        )
        levels = paragraph_levels(run.shown, rtl=rtl)
        columns = [list(column) for column in zip(*pieces, strict=True)]
        for piece, line in zip(pieces, _rows(run, start, end, *columns), strict=False):
            left = max(0.0, piece.extra) if rtl else 0.0
            own = levels[piece.begin : piece.end]
            yield line._replace(
                plain=not line.shown, left=left, word_space=0.0, rtl=rtl, levels=own
            )


def _by_direction(text: str, block: Block) -> Iterator[tuple[Block, bool]]:
    """Stretches of lines that all run one way; a line without letters runs on as before it."""
    held: list[Source] = []
    joined: set[int] = set()
    way: bool | None = None
    for number, source in enumerate(block.sources):
        line = text[source.start : source.end]
        own = is_rtl(line) if any(char.isalpha() for char in line) else way
        if held and own != way and way is not None and number not in block.joined:
            yield Block(block.kind, held, frozenset(joined)), way
            held, joined = [], set()
        if number not in block.joined:
            way = own
        else:
            joined.add(len(held))
        held.append(source)
    yield Block(block.kind, held, frozenset(joined)), bool(way)


def _rows(
    run: SetLine,
    start: int,
    end: int,
    begins: Sequence[int] = (),
    stops: Sequence[int] = (),
    extras: Sequence[float] = (),
    words: Sequence[int] = (),
) -> list[Line]:
    """Lines of a block that starts and ends at these offsets, from its rows' places in the run."""
    if not len(begins):
        return [Line(start, end, "", True, range(0))]
    offsets, places = run.offsets.data, list(zip(begins, stops, strict=True))
    first = [start, *(offsets[begin] for begin in begins[1:])]
    shown = [run.shown[begin:stop] for begin, stop in places]
    squeezes = [0.0] * len(places)
    for at, extra in enumerate(extras):
        if extra <= -TOUCH:
            spaces = shown[at].count("\u00a0") + words[at] - 1
            squeezes[at] = as_poppler_reads(extra / spaces) if spaces > 0 else 0.0
    ends_block = [False] * len(places)
    ends_block[-1] = True
    rows = zip(
        *(first, [*first[1:], end], shown, ends_block),
        *([offsets[begin:stop] for begin, stop in places], repeat(True), repeat(0.0), squeezes),
        *(repeat(()), repeat(False), repeat(b""), repeat(()), repeat(False)),
        strict=False,
    )
    return list(map(tuple.__new__, repeat(Line), rows))  # skips Line's slow constructor
