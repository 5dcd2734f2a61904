"""What a style may say: ranges, choices, and what fits on a page. Refuses; changes no pixel."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from glyph_worker.errors import InvalidStyle

if TYPE_CHECKING:
    from glyph_worker.render.style.style import Style

MAX_PAGE_PIXELS = 50_000_000
FORMS = ("lines", "marks", "auto")
"""What a style may ask for: every source line on rows of its own; all run on; by content."""
ALIGNMENTS = ("LEFT", "CENTER", "RIGHT", "JUSTIFY")
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}\Z")
FRAME_PADDING = 6.0
"""Points that reportlab's Frame adds inside every margin."""


_RANGES = (
    ("dpi", 1, 2400),
    ("font-size", 1, 1000),
    ("line-height", 0, 10_000),
    ("margin-x", 0, 100_000),
    ("margin-y", 0, 100_000),
    ("horizontal-scale", 0.05, 20),
    ("first-line-indent", -10_000, 10_000),
    ("left-indent", -10_000, 10_000),
    ("right-indent", -10_000, 10_000),
    ("space-before", 0, 10_000),
    ("space-after", 0, 10_000),
    ("border-width", 0, 1000),
    ("border-padding", 0, 1000),
    ("tab-width", 1, 64),
    ("min-lines", 0, 100_000),
    ("crop-multiple", 1, 4096),
    ("cell-width", 0, 512),
    ("cell-height", 0, 512),
)
_CHOICES = {
    "alignment": ALIGNMENTS,
    "layout": ("exact", "flow", "grid"),
    "breaks": ("stable", "greedy"),
    "form": FORMS,
}


_EXACT_ONLY = (
    *("space_before", "space_after", "border_width", "border_padding", "horizontal_scale"),
    "auto_crop_last_page",
)


_MARKUP = re.compile(
    r"(?:<font color=[\"'](#[0-9A-Fa-f]{6})[\"']>)?([^<>&]*)(?(1)</font>)(<br ?/>)?\Z"
)


@lru_cache(maxsize=64)
def read_markup(markup: str) -> tuple[str | None, str, bool]:
    """Colour, text and line break of a newline-markup. Raises InvalidStyle."""
    match = _MARKUP.match(markup)
    if match is None or not (match[2].strip() or match[3]):
        raise bad(
            "newline-markup", markup, '<br/>, or <font color="#FF0000"> text </font> and then <br/>'
        )
    return match[1], match[2], match[3] is not None


def bad(key: str, value: Any, wanted: str) -> InvalidStyle:
    """The error for one key's value."""
    return InvalidStyle(f"style key {key} is {value!r}, must be {wanted}", key=key)


def check(style: Style) -> None:
    """Refuse what cannot be drawn, before any memory is taken. Raises InvalidStyle."""
    for key, low, high in _RANGES:
        value = getattr(style, key.replace("-", "_"))
        if not low <= value <= high:
            raise bad(key, value, f"from {low:g} to {high:g}")
    if 0 < style.line_height < 1:
        raise bad("line-height", style.line_height, "0 (font-size + 1), or from 1 to 10000")
    for side in style.page_size:
        if not 1 <= side <= 100_000:
            raise bad("page-size", style.page_size, "two sides from 1 to 100000 points")
    for key in ("font-color", "para-border-color", "page-bg-color", "para-bg-color"):
        if not _COLOR.match(getattr(style, key.replace("-", "_"))):
            raise bad(key, getattr(style, key.replace("-", "_")), "a colour such as #000000")
    for key, choices in _CHOICES.items():
        if getattr(style, key.replace("-", "_")) not in choices:
            raise bad(key, getattr(style, key.replace("-", "_")), f"one of {', '.join(choices)}")
    read_markup(style.newline_markup)
    pixels = style.page_width * style.page_height
    if pixels > MAX_PAGE_PIXELS:
        raise InvalidStyle(
            f"style keys page-size and dpi give pages of {style.page_width}×{style.page_height} = "
            f"{pixels} pixels, limit is {MAX_PAGE_PIXELS}; lower dpi (now {style.dpi:g})",
            key="dpi",
        )
    if style.form != "lines":
        _check_form(style)
    if style.layout != "exact":
        _check_local(style)
    if style.layout == "grid":
        if style.auto_crop_width:
            raise bad("auto-crop-width", True, "false in layout grid, whose pages are all as wide")
        _check_grid(style)
    else:
        _check_frame(style)


def _check_local(style: Style) -> None:
    """Refuse what only the reference's own layout draws."""
    for item in fields(style):
        value = getattr(style, item.name)
        if item.name in _EXACT_ONLY and value != item.default:
            key = item.name.replace("_", "-")
            raise InvalidStyle(
                f"style key {key} is {value!r}, but layout {style.layout} draws "
                f"only {item.default!r}; leave it out or take layout exact",
                key=key,
            )
    if not style.marker_breaks or (style.marker and style.layout == "grid"):
        raise InvalidStyle(
            f"style key newline-markup {style.newline_markup!r} does not end the line, so a page "
            f"would depend on all text before it; layout {style.layout} takes "
            + ("<br/>" if style.layout == "grid" else "a marker followed by <br/>, or <br/>"),
            key="newline-markup",
        )


def _check_form(style: Style) -> None:
    """Refuse a form where lines cannot be run on."""
    needs = {
        "layout": "flow",
        "alignment": "LEFT",
        "first-line-indent": 0,
        "newline-markup": "<br/>",
    }
    for key, wanted in needs.items():
        value = getattr(style, key.replace("-", "_"))
        if value != wanted:
            raise InvalidStyle(
                f"style key form is {style.form!r}, which needs {key} {wanted!r}, not {value!r}; "
                "set it so or take form lines",
                key="form",
            )


def _check_grid(style: Style) -> None:
    if style.cell_width < 2 or style.cell_height < 2:
        raise InvalidStyle(
            f"layout grid needs cell-width and cell-height of 2 pixels or more, has "
            f"{style.cell_width}×{style.cell_height}",
            key="cell-width",
        )
    if style.columns < 16 or style.rows < 1:
        raise InvalidStyle(
            f"page-size holds {style.columns} columns and {style.rows} rows of cells, at least 16 "
            f"and 1 are needed; widen the page or take smaller cells than "
            f"{style.cell_width}×{style.cell_height}",
            key="page-size",
        )
    if style.rows * style.cell_height % style.crop_multiple:
        raise InvalidStyle(
            f"crop-multiple {style.crop_multiple} does not divide the page's "
            f"{style.rows * style.cell_height} pixels",
            key="crop-multiple",
        )


def _check_frame(style: Style) -> None:
    width = style.page_size[0] - 2 * style.margin_x - 2 * FRAME_PADDING
    height = style.page_size[1] - 2 * style.margin_y - 2 * FRAME_PADDING
    text = width - style.left_indent - style.right_indent - max(0.0, style.first_line_indent)
    if text < style.font_size:
        raise InvalidStyle(
            f"margin-x {style.margin_x:g} and the indents leave {text:g} points of the page's "
            f"{style.page_size[0]:g} for text, less than one letter of {style.font_size:g}; "
            "narrow them",
            key="margin-x",
        )
    if height < style.leading:
        raise InvalidStyle(
            f"margin-y {style.margin_y:g} leaves {height:g} points of the page's "
            f"{style.page_size[1]:g} for text, less than one line of {style.leading:g}; narrow it",
            key="margin-y",
        )
