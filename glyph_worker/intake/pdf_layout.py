"""Words on a page to blocks in reading order: columns apart, a table's row on one line. No I/O.

Lengths are points, y upwards. Thresholds are shares of the type size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from glyph_worker.intake.reflow import Block, Line, Word

CELL_BETWEEN = " | "
GAP = 1.0
"""Of the type size: more blank than that between two words parts cells or columns."""
SAME_LINE = 0.4
"""Of the type size: baselines nearer than that are one line."""
MIN_COLUMN_LINES = 4
MIN_COLUMN_CHARS = 15
"""Of the median line of each side: less is a table's column and no text's."""
MIN_COLUMN_FILL = 0.5
"""Of its side's width, that the median line fills: a table's cells fill less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Words of one line with no more than word spaces between them: a column's line, or a cell."""

    text: str
    left: float
    right: float
    size: float
    first_width: float
    """Of its first word."""
    is_fixed: bool
    words: tuple[Word, ...]
    """In the order in which they are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    baseline: float
    runs: tuple[Run, ...]


def blocks_of(words: Sequence[Word]) -> list[Block]:
    """A page's blocks in reading order."""
    return list(_blocks(_rows([word for word in words if word.text])))


def _rows(words: Sequence[Word]) -> list[Row]:
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: -word.baseline):
        if rows and rows[-1][0].baseline - word.baseline <= SAME_LINE * min(
            max(word.size, 1.0), max(rows[-1][0].size, 1.0)
        ):
            rows[-1].append(word)
        else:
            rows.append([word])
    return [
        Row(baseline=row[0].baseline, runs=tuple(_runs(sorted(row, key=lambda word: word.left))))
        for row in rows
    ]


def _runs(row: Sequence[Word]) -> Iterator[Run]:
    begin = 0
    right = row[0].right
    for at in range(1, len(row) + 1):
        if at < len(row) and row[at].left - right <= GAP * max(1.0, row[at].size):
            right = max(right, row[at].right)
            continue
        words = row[begin:at]
        ordered = tuple(reversed(words) if _reads_leftwards(words) else words)
        yield Run(
            text=" ".join(word.text for word in ordered),
            left=words[0].left,
            right=max(word.right for word in words),
            size=max(word.size for word in words),
            first_width=words[0].right - words[0].left,
            is_fixed=all(word.is_fixed for word in words),
            words=ordered,
        )
        if at < len(row):
            begin, right = at, row[at].right


def _reads_leftwards(words: Sequence[Word]) -> bool:
    letters = [char for word in words for char in word.text if char.isalpha()]
    return 2 * sum("\u0590" <= char <= "\u08ff" for char in letters) > len(letters)


def _blocks(rows: Sequence[Row]) -> Iterator[Block]:
    """Divides at the widest stretch of two columns, until none is left."""
    if found := _gutter(rows):
        first, last, at = found
        yield from _blocks(rows[:first])
        yield from _blocks(_side(rows[first:last], lambda run: run.right <= at))
        yield from _blocks(_side(rows[first:last], lambda run: run.right > at))
        yield from _blocks(rows[last:])
    elif rows:
        yield from _columnless(rows)


def _side(rows: Sequence[Row], has: object) -> list[Row]:
    assert callable(has)
    kept = (Row(baseline=row.baseline, runs=tuple(filter(has, row.runs))) for row in rows)
    return [row for row in kept if row.runs]


def _gutter(rows: Sequence[Row]) -> tuple[int, int, float] | None:
    """(First row, row after the last, x) of the longest stretch that a blank strip parts."""
    places = sorted(
        {
            round((one.right + other.left) / 4) * 2.0
            for row in rows
            for one, other in zip(row.runs, row.runs[1:], strict=False)
            if one.right < other.left
        }
    )
    best: tuple[int, int, int, float] | None = None
    for x in places[:200]:
        begin = 0
        for at in range(len(rows) + 1):
            crossed = at == len(rows) or any(
                run.left < x - 1 and run.right > x + 1 for run in rows[at].runs
            )
            if not crossed:
                continue
            if at - begin >= MIN_COLUMN_LINES and (best is None or at - begin > best[0]):
                trimmed = _trimmed(rows, begin, at, x)
                if trimmed and (best is None or trimmed[1] - trimmed[0] > best[0]):
                    best = (trimmed[1] - trimmed[0], *trimmed, x)
            begin = at + 1
    return None if best is None else best[1:]


def _trimmed(rows: Sequence[Row], begin: int, end: int, x: float) -> tuple[int, int] | None:
    """The stretch from the first to the last row with both sides; None where they are no text."""
    both = [
        at
        for at in range(begin, end)
        if rows[at].runs[0].right <= x + 1 and rows[at].runs[-1].left >= x - 1
    ]
    if not both:
        return None
    # Rows of one side only belong to it: the shorter column ends earlier.
    sides = (
        _side(rows[begin:end], lambda run: run.right <= x + 1),
        _side(rows[begin:end], lambda run: run.right > x + 1),
    )
    return (begin, end) if all(map(_is_text, sides)) else None


def _is_text(rows: Sequence[Row]) -> bool:
    if len(rows) < MIN_COLUMN_LINES:
        return False
    left = min(row.runs[0].left for row in rows)
    right = max(row.runs[-1].right for row in rows)
    widths = [sum(run.right - run.left for run in row.runs) for row in rows]
    chars = [sum(len(run.text) for run in row.runs) for row in rows]
    return median(chars) >= MIN_COLUMN_CHARS and median(widths) >= MIN_COLUMN_FILL * (right - left)


def _columnless(rows: Sequence[Row]) -> Iterator[Block]:
    """Tables and the text between them."""
    begin = 0
    while begin < len(rows):
        end = _table_end(rows, begin)
        if end > begin:
            yield Block(lines=tuple(_table_lines(rows[begin:end])), is_table=True)
            begin = end
            continue
        end = begin + 1
        while end < len(rows) and _table_end(rows, end) == end:
            end += 1
        yield Block(lines=tuple(_lines(rows[begin:end])))
        begin = end


def _table_end(rows: Sequence[Row], begin: int) -> int:
    """The row after a table that begins here; `begin` itself where none does."""
    if len(rows[begin].runs) < 2 or all(run.is_fixed for run in rows[begin].runs):
        return begin
    end = last = begin + 1
    extents = [(run.left, run.right) for run in rows[begin].runs]
    while end < len(rows):
        row = rows[end]
        near = rows[end - 1].baseline - row.baseline <= 3 * max(run.size for run in row.runs)
        if not near or all(run.is_fixed for run in row.runs):
            break
        if len(row.runs) == 1:
            crossed = sum(
                row.runs[0].left < right and row.runs[0].right > left for left, right in extents
            )
            if crossed > 1 or end - last > 2:
                break
        else:
            extents += [(run.left, run.right) for run in row.runs]
            last = end + 1
        end += 1
    return last if last - begin >= 2 else begin


def _table_lines(rows: Sequence[Row]) -> Iterator[Line]:
    columns = _columns([run for row in rows if len(row.runs) > 1 for run in row.runs])
    for row in rows:
        cells = [""] * len(columns)
        for run in row.runs:
            at = max(range(len(columns)), key=lambda column: _overlap(run, columns[column]))
            cells[at] = f"{cells[at]} {run.text}".strip()
        yield _line(row, CELL_BETWEEN.join(cells).rstrip())


def _columns(runs: Sequence[Run]) -> list[tuple[float, float]]:
    """Where cells stand one below the other, from left to right."""
    columns: list[tuple[float, float]] = []
    for run in sorted(runs, key=lambda run: run.left):
        if columns and run.left < columns[-1][1]:
            columns[-1] = columns[-1][0], max(columns[-1][1], run.right)
        else:
            columns.append((run.left, run.right))
    return columns


def _overlap(run: Run, column: tuple[float, float]) -> float:
    return min(run.right, column[1]) - max(run.left, column[0])


def _lines(rows: Sequence[Row]) -> Iterator[Line]:
    fixed = [run for row in rows for run in row.runs if run.is_fixed and run.text]
    left = min((run.left for run in fixed), default=0.0)
    width = median([(run.right - run.left) / len(run.text) for run in fixed]) if fixed else 1.0
    for row in rows:
        if all(run.is_fixed for run in row.runs) and width > 0:
            text = ""
            for run in row.runs:
                text = text.ljust(min(200, round((run.left - left) / width))) + run.text
            yield _line(row, text)
        else:
            yield _line(row, "  ".join(run.text for run in row.runs))


def _line(row: Row, text: str) -> Line:
    return Line(
        text=text,
        left=row.runs[0].left,
        right=row.runs[-1].right,
        baseline=row.baseline,
        size=max(run.size for run in row.runs),
        first_width=row.runs[0].first_width,
        is_fixed=all(run.is_fixed for run in row.runs),
        words=tuple(word for run in row.runs for word in run.words),
    )
