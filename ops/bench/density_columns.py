"""What text columns would carry: every line on rows of its own, several columns to a page.

Counted from real widths, not drawn: each file's lines are wrapped by the renderer at a column's
width, its rows fill columns of a page, and pages are cropped to what they hold.
"""

from __future__ import annotations

import math

from bench.density_corpus import File
from glyph_worker.render.lines.normalize import normalize
from glyph_worker.render.pages.flow import Flow
from glyph_worker.render.report import RenderReport
from glyph_worker.render.style.style import Style

MOST_COLUMNS = 8
GAP = 9.0
"""Points between columns: an em."""
SIDE = 28


def column_tokens(file: File, style: Style) -> tuple[int, int]:
    """Visual tokens of a file at its best number of columns, and that number.

    style: what the letters and the page are; the frame's padding is part of every page.
    """
    text = normalize(file.text).text
    return min((_tokens(text, style, count), count) for count in range(1, MOST_COLUMNS + 1))


def _tokens(text: str, style: Style, count: int) -> int:
    width, height = style.page_size
    padding = 12.0
    room = (width - padding - (count - 1) * GAP) / count
    narrow = style.with_(
        form="lines", page_size=(room + padding, height), auto_crop_width=False, crop_multiple=1
    )
    layout = Flow(narrow)
    rows = list(layout.lines(text, RenderReport()))
    per_column = int((height - padding) / style.leading)
    tokens = 0
    for first in range(0, len(rows), count * per_column):
        held = rows[first : first + count * per_column]
        deep = min(per_column, math.ceil(len(held) / count))
        columns = [held[at : at + deep] for at in range(0, len(held), deep)]
        wide = sum(layout.reach(part) for part in columns)
        across = wide + (len(columns) - 1) * GAP + padding
        tokens += math.ceil(min(across, width) * style.scale / SIDE) * math.ceil(
            (deep * style.leading + padding) * style.scale / SIDE
        )
    return tokens
