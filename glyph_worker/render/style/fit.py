"""A preset at the page size that a checkpoint sees unscaled. Changes sizes, nothing else."""

from __future__ import annotations

from glyph_worker.model.families.pages import PageShape
from glyph_worker.render.style.presets import PRESETS
from glyph_worker.render.style.style import Style

_A4 = (595.2755905511812, 841.8897637795277)
"""Points; what the presets' page is next to."""


def fitted(style: Style, shape: PageShape) -> Style:
    """The same style on pages of whole visual tokens, next to A4: 608 x 832 px for Qwen3-VL's 32.

    Presets are made for tokens of 28 px. A style that states other sizes is left as it is.
    """
    made_for = PRESETS["balanced"].crop_multiple
    if style.layout != "flow" or style.crop_multiple != made_for or shape.token == made_for:
        return style
    scale = style.dpi / 72
    sides = [max(1, round(side * scale / shape.token)) * shape.token / scale for side in _A4]
    return style.with_(page_size=(sides[0], sides[1]), crop_multiple=shape.token)


def strip_style(side: int) -> Style:
    """Strips of large letters for a model that sees one small square: `side` pixels each way."""
    return PRESETS["balanced"].with_(
        name="strip",
        page_size=(side, side),
        font_size=16,
        line_height=18,
        auto_crop_width=False,
        crop_multiple=side,
    )
