"""The styles that the package brings, by name."""

from __future__ import annotations

from glyph_worker.render.style import Style

NANO = Style(
    name="nano",
    layout="grid",
    page_size=(448, 392),
    dpi=72,
    margin_x=0,
    margin_y=0,
    font_path="DejaVuSansMono.ttf",
    font_size=11,
    line_height=14,
    alignment="LEFT",
    cell_width=7,
    cell_height=14,
    crop_multiple=28,
    tab_width=4,
)
"""What the embedded reader was trained on: 64 columns, 28 lines, cells aligned with its patches."""

PRESETS: dict[str, Style] = {style.name: style for style in (NANO,)}
