"""The styles that the package brings, by name. Chosen by ops/bench/density and legibility."""

from __future__ import annotations

from pathlib import Path

from glyph_worker.errors import InvalidStyle
from glyph_worker.render.style.style import Style

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

# 588×840 and 784×1120 are multiples of 28, the vision tower's visual token: the model's processor
# rounds every page to such a size, and 589×842, as the reference crops it, is resampled.
_BALANCED = Style(
    name="balanced",
    layout="flow",
    form="auto",
    page_size=(588, 840),
    dpi=72,
    margin_x=0,
    margin_y=0,
    font_path="DejaVuSans.ttf",
    font_size=9,
    line_height=10,
    alignment="LEFT",
    auto_crop_width=True,
    crop_multiple=28,
)
_CJK = _BALANCED.with_(
    name="balanced-cjk", font_path="wqy-microhei.ttc", font_size=12, line_height=13
)
_REFERENCE = Style(
    name="reference",
    page_size=(595, 842),
    margin_x=10,
    margin_y=10,
    font_path="DejaVuSans.ttf",
    font_size=9,
    line_height=10,
    alignment="LEFT",
    auto_crop_width=True,
    auto_crop_last_page=True,
)

PRESETS: dict[str, Style] = {
    style.name: style
    for style in (
        NANO,
        _BALANCED,
        _BALANCED.with_(name="fast", font_size=8, line_height=9),
        _BALANCED.with_(name="accurate", dpi=96),
        _CJK,
        _CJK.with_(name="fast-cjk", font_size=10, line_height=11),
        _CJK.with_(name="accurate-cjk", font_size=14, line_height=15),
        _REFERENCE,
        _REFERENCE.with_(name="reference-cjk", font_path="wqy-microhei.ttc"),
    )
}
"""`fast`, `balanced`, `accurate` (and `-cjk`): denser to clearer. `reference`: Glyph's config_en,
laid out exactly as its script does. `nano`: the embedded reader's."""


def preset_style(name: str) -> Style:
    """A style that the package brings. Raises InvalidStyle, listing the names."""
    if name not in PRESETS:
        raise InvalidStyle(
            f"no style is called {name!r}; presets are {', '.join(sorted(PRESETS))}", name=name
        )
    return PRESETS[name]


def named_style(name_or_path: str) -> Style:
    """A preset by name, else a JSON file by path. Raises InvalidStyle, FontUnusable."""
    if name_or_path.endswith(".json") or "/" in name_or_path:
        return Style.from_json(Path(name_or_path))
    return preset_style(name_or_path)
