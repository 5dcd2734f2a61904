"""Of several places of one string, the one that the model looked at as it began its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from glyph_worker.document import Page
from glyph_worker.evidence.boxes import PageMap
from glyph_worker.evidence.index import Span

Grid = tuple[int, int]
"""Rows and columns of visual tokens of a page."""

DECISIVE = 1.5
"""How much more than at the second place it must have looked at the first to decide."""
MAX_COMPARED = 16
"""Places whose boxes are looked up: that is a page's layout for each."""


class Gaze:
    """Shares of attention over the visual tokens of a document, laid over its page images."""

    def __init__(
        self,
        shares: npt.NDArray[np.float32],
        pages: Sequence[Page],
        grids: Sequence[Grid],
        page_map: PageMap,
    ) -> None:
        """`shares` float32 [num_visual_tokens] of all pages in order, row by row."""
        self._shares = shares
        self._pages = pages
        self._grids = grids
        self._page_map = page_map
        self._starts = np.cumsum([0, *(rows * columns for rows, columns in grids)]).tolist()

    def looked_at(self, places: Sequence[Span]) -> Span | None:
        """None where it looked at two about as much, or its tokens do not lie as the pixels do."""
        if self._starts[-1] != len(self._shares) or not 1 < len(places) <= MAX_COMPARED:
            return None
        shares = [self._share(span) for span in places]
        first, second = sorted(range(len(places)), key=lambda at: -shares[at])[:2]
        decided = shares[first] > 0 and shares[first] >= DECISIVE * shares[second]
        return places[first] if decided else None

    def _share(self, span: Span) -> float:
        """What went to the tokens that show the place's first line."""
        boxes = self._page_map.boxes(span)
        if not boxes:
            return 0.0
        box, index = boxes[0], boxes[0].page - 1
        page, (rows, columns) = self._pages[index], self._grids[index]
        top, bottom = box.top * rows / page.height, box.bottom * rows / page.height
        left, right = box.left * columns / page.width, box.right * columns / page.width
        start = self._starts[index]
        grid = self._shares[start : start + rows * columns].reshape(rows, columns)
        return float(grid[int(top) : math.ceil(bottom), int(left) : math.ceil(right)].sum())
