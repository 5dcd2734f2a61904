"""Where tokens stand for multimodal rotary embedding (M-RoPE). Integers only: no model.

A text token stands at t = h = w. A page of gh x gw visual tokens shares one t, counts rows in h and
columns in w, and moves the next token on by max(gh, gw): 630 visual tokens use 30 positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int32]


def page_positions(start: int, rows: int, columns: int) -> Positions:
    """int32 [3, rows * columns]: t, h, w of one page's visual tokens, the first at `start`."""
    h, w = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.stack([np.zeros_like(h), h, w]).reshape(3, -1).astype(np.int32) + np.int32(start)


def text_positions(start: int, num_tokens: int) -> Positions:
    """int32 [3, num_tokens], all three axes equal."""
    return np.broadcast_to(np.arange(start, start + num_tokens, dtype=np.int32), (3, num_tokens))


def prompt_positions(
    parts: Sequence[tuple[int, tuple[int, int] | None]],
    num_tail_tokens: int,
    *,
    planar: bool = True,
) -> tuple[Positions, int]:
    """Positions of a whole prompt and the position of the first answer token.

    `parts` holds (text tokens before, visual grid rows x columns) per page. Returns int32
    [3, num_prompt_tokens] and the next free position. Without `planar` a page's tokens stand one
    after the other, as text does.
    """
    if not planar:
        total = sum(text + (0 if grid is None else grid[0] * grid[1]) for text, grid in parts)
        return text_positions(0, total + num_tail_tokens), total + num_tail_tokens
    out: list[Positions] = []
    here = 0
    for num_text, grid in parts:
        out.append(text_positions(here, num_text))
        here += num_text
        if grid is not None:
            out.append(page_positions(here, *grid))
            here += max(grid)
    out.append(text_positions(here, num_tail_tokens))
    return np.concatenate(out, axis=1), here + num_tail_tokens
