"""Laid-out pages to pixels. Decides nothing about where things go."""

from __future__ import annotations

import numpy as np

from glyph_worker.errors import InvalidOption
from glyph_worker.render.pages.grid import Grid
from glyph_worker.render.pages.page import LaidPage
from glyph_worker.render.paginate import layout_of
from glyph_worker.render.style.style import Style


def draw(laid: LaidPage) -> np.ndarray:
    """The pixels of one page, uint8[height, width], 0 black, 255 white; [height, width, 3] of a
    picture in colour."""
    return laid.layout.draw(laid)


def cell_atlas(style: Style, chars: str) -> np.ndarray:
    """Exactly the cells that `draw` puts on a grid page.

    Returns uint8[len(chars), cell_height, cell_width]. Raises InvalidOption for a style without
    cells or a character that takes two.
    """
    layout = layout_of(style)
    if not isinstance(layout, Grid):
        raise InvalidOption(f"style {style.name} has no cells; its layout is {style.layout}")
    return layout.cells.single(chars)
