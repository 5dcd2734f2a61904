"""The page's grid, in pixels, cells and visual tokens."""

from __future__ import annotations

PATCH = 14  # pixels; one patch is two cells of 7 x 14
MERGE = 2  # patches a side; one visual token is 28 x 28 px, 4 characters x 2 lines
CELL_WIDTH, CELL_HEIGHT = 7, 14  # pixels
COLUMNS = 64  # characters
PAGE_LINES = 28
PAGE_WIDTH = COLUMNS * CELL_WIDTH  # 448 pixels
TOKEN_COLUMNS = PAGE_WIDTH // (PATCH * MERGE)  # 16 visual tokens a row
