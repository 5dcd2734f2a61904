"""What changes pixels, in one frozen value: Style. Reads and checks; draws nothing.

Keys are those of Glyph's own JSON configs (`page-size`, `dpi`, `font-path`, …), so such a file
loads as it is and is drawn as the reference draws it (`layout: exact`). The keys from `layout` on
are ours.
Lengths are points (1/72 inch) unless a key says otherwise; at 72 dpi a point is a pixel.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from glyph_worker.document import digest
from glyph_worker.errors import InvalidStyle
from glyph_worker.render.fontfile import FontFile, find_font

LAYOUT_VERSION = {"exact": 2, "flow": 2, "grid": 1}
"""By layout; raised whenever the same style and text would give other pages or pixels. Part of
every page digest."""

MAX_PAGE_PIXELS = 50_000_000
_ALIGNMENTS = ("LEFT", "CENTER", "RIGHT", "JUSTIFY")
_REPORTLAB_ALIGNMENTS = {0: "LEFT", 1: "CENTER", 2: "RIGHT", 4: "JUSTIFY"}
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}\Z")


FALLBACK_FONTS = (
    "DejaVuSans.ttf",
    "wqy-microhei.ttc",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "NotoSansTamil-Regular.ttf",
    "NotoSansTelugu-Regular.ttf",
    "NotoSansGujarati-Regular.ttf",
    "NotoSansGurmukhi-Regular.ttf",
    "NotoSansKannada-Regular.ttf",
    "NotoSansMalayalam-Regular.ttf",
)
"""Fonts that the package brings, in the order in which they are asked."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """All that changes pixels. Defaults are the reference script's, where it has the key."""

    name: str = "custom"
    """For people; not part of the digest."""
    page_size: tuple[float, float] = (595.2755905511812, 841.8897637795277)
    """Width and height in points; A4 as reportlab has it."""
    dpi: float = 72
    margin_x: float = 20
    margin_y: float = 20
    font_path: str = "DejaVuSans.ttf"
    """A TrueType file, or the file name of a font that the package brings."""
    font_size: float = 9
    line_height: float = 0
    """Baseline to baseline; 0 takes font-size + 1."""
    font_color: str = "#000000"
    alignment: str = "JUSTIFY"
    horizontal_scale: float = 1.0
    first_line_indent: float = 0
    left_indent: float = 0
    right_indent: float = 0
    space_before: float = 0
    space_after: float = 0
    border_width: float = 0
    border_padding: float = 0
    para_border_color: str = "#FFFFFF"
    page_bg_color: str = "#FFFFFF"
    para_bg_color: str = "#FFFFFF"
    newline_markup: str = "<br/>"
    auto_crop_width: bool = False
    auto_crop_last_page: bool = False
    layout: str = "exact"
    """`exact`: line by line what the reference does. `flow`: the same letters, stable page breaks.
    `grid`: one character per cell."""
    fallback_fonts: tuple[str, ...] = FALLBACK_FONTS
    """Asked in this order for characters that the font lacks."""
    tab_width: int = 4
    """Columns between tab stops (flow, grid)."""
    breaks: str = "stable"
    """Page breaks: `stable` survive edits, `greedy` fill every page (flow, grid)."""
    min_lines: int = 0
    """Fewest lines between two `stable` cuts; 0 takes half a full page."""
    crop_multiple: int = 1
    """Page heights are cropped to what is written, rounded up to this many pixels (flow, grid)."""
    cell_width: int = 0
    """Pixels (grid)."""
    cell_height: int = 0
    """Pixels (grid)."""

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def preset(cls, name: str) -> Style:
        """A style that the package brings. Raises InvalidStyle, listing the names."""
        from glyph_worker.render.presets import PRESETS  # presets are built from Style

        if name not in PRESETS:
            raise InvalidStyle(
                f"no style is called {name!r}; presets are {', '.join(sorted(PRESETS))}",
                name=name,
            )
        return PRESETS[name]

    @classmethod
    def from_json(cls, source: Mapping[str, Any] | str | Path) -> Style:
        """Read a style from a mapping or a JSON file, in Glyph's own keys.

        A relative `font-path` is looked up beside the file, then here, then in the package.
        Raises InvalidStyle for unknown keys and bad values, FontUnusable for the font.
        """
        if isinstance(source, Mapping):
            return cls._from_mapping(source, folder=None, name="custom")
        path = Path(source)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise InvalidStyle(f"style file {path} cannot be read: {exc}", path=str(path)) from exc
        if not isinstance(values, dict):
            raise InvalidStyle(f"style file {path} must hold one JSON object", path=str(path))
        return cls._from_mapping(values, folder=path.parent, name=path.stem)

    @classmethod
    def load(cls, name_or_path: str) -> Style:
        """A preset by name, else a JSON file by path."""
        if name_or_path.endswith(".json") or "/" in name_or_path:
            return cls.from_json(Path(name_or_path))
        return cls.preset(name_or_path)

    @classmethod
    def _from_mapping(cls, values: Mapping[str, Any], *, folder: Path | None, name: str) -> Style:
        known = {item.name.replace("_", "-"): item for item in fields(cls)}
        wanted: dict[str, Any] = {"name": name}
        for key, value in values.items():
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                raise InvalidStyle(
                    f"style key {key!r} is unknown{hint} Known keys: {', '.join(sorted(known))}",
                    key=key,
                )
            if value is not None:
                wanted[known[key].name] = _converted(key, value)
        font = wanted.get("font_path")
        if font is not None and folder is not None and (folder / font).is_file():
            wanted["font_path"] = str(folder / font)
        style = cls(**wanted)
        style.fonts  # noqa: B018  # a missing font fails here, where the key can be named
        return style

    def to_json(self) -> dict[str, Any]:
        """The mapping that from_json reads back to an equal style."""
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "page_size":
                value = ",".join(repr(side) for side in value)
            out[item.name.replace("_", "-")] = list(value) if isinstance(value, tuple) else value
        return out

    def with_(self, **changes: Any) -> Style:
        """A copy with some fields changed, checked again."""
        return replace(self, **changes)

    @cached_property
    def fonts(self) -> tuple[FontFile, ...]:
        """The font and its fallbacks, as files. Raises FontUnusable."""
        chain = [find_font(self.font_path, key="font-path")]
        for path in self.fallback_fonts:
            font = find_font(path, key="fallback-fonts")
            if font not in chain:
                chain.append(font)
        return tuple(chain)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over every field, the bytes of every font and the layout's version."""
        # Only what differs from the default: a key added later must not rename every page. Of the
        # fonts the bytes count, not the path.
        values = {
            key: value
            for key, value in self.to_json().items()
            if key not in ("name", "font-path", "fallback-fonts")
            and getattr(self, key.replace("-", "_")) != _DEFAULTS[key]
        }
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return digest(
            "render style",
            LAYOUT_VERSION[self.layout],
            canonical,
            *(font.digest for font in self.fonts),
        )

    @property
    def scale(self) -> float:
        """Pixels per point."""
        return self.dpi / 72

    @property
    def leading(self) -> float:
        """Baseline to baseline, points."""
        return self.line_height or self.font_size + 1

    @property
    def page_width(self) -> int:
        """Pixels of an uncropped page, rounded as poppler does."""
        return math.ceil(self.page_size[0] * self.scale - 1e-9)

    @property
    def page_height(self) -> int:
        """Pixels of an uncropped page, rounded as poppler does."""
        return math.ceil(self.page_size[1] * self.scale - 1e-9)

    @property
    def marker(self) -> str:
        """What stands at every line end, from newline-markup; empty for none."""
        return _read_markup(self.newline_markup)[1]

    @property
    def marker_color(self) -> str:
        """Colour of the marker."""
        return _read_markup(self.newline_markup)[0] or self.font_color

    @property
    def marker_breaks(self) -> bool:
        """Whether a line end also ends the line, as without a marker."""
        return _read_markup(self.newline_markup)[2]

    @property
    def columns(self) -> int:
        """Cells in a line (grid)."""
        return self.page_width // self.cell_width

    @property
    def rows(self) -> int:
        """Lines on a full page (grid)."""
        return self.page_height // self.cell_height


_MARKUP = re.compile(
    r"(?:<font color=[\"'](#[0-9A-Fa-f]{6})[\"']>)?([^<>&]*)(?(1)</font>)(<br ?/>)?\Z"
)


@lru_cache(maxsize=64)
def _read_markup(markup: str) -> tuple[str | None, str, bool]:
    """Colour, text and line break of a newline-markup. Raises InvalidStyle."""
    match = _MARKUP.match(markup)
    if match is None or not (match[2].strip() or match[3]):
        raise _bad(
            "newline-markup", markup, '<br/>, or <font color="#FF0000"> text </font> and then <br/>'
        )
    return match[1], match[2], match[3] is not None


def _converted(key: str, value: Any) -> Any:
    """A JSON value in the field's own type. Raises InvalidStyle."""
    default = _DEFAULTS[key]
    if key == "page-size":
        parts = value.split(",") if isinstance(value, str) else value
        try:
            width, height = (float(part) for part in parts)
        except (TypeError, ValueError):
            raise _bad(key, value, 'two numbers, points, such as "595,842"') from None
        return (width, height)
    if key == "alignment":
        name = _REPORTLAB_ALIGNMENTS.get(value, value) if not isinstance(value, bool) else value
        if name not in _ALIGNMENTS:
            raise _bad(key, value, f"one of {', '.join(_ALIGNMENTS)}")
        return name
    if isinstance(default, tuple):
        if isinstance(value, str) or not all(isinstance(part, str) for part in value):
            raise _bad(key, value, "a list of font paths")
        return tuple(value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise _bad(key, value, "true or false")
        return value
    if isinstance(default, str):
        if not isinstance(value, str):
            raise _bad(key, value, "a string")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad(key, value, "a finite number")
    if isinstance(default, int) and key in _WHOLE:
        if value != int(value):
            raise _bad(key, value, "a whole number")
        return int(value)
    return float(value)


_WHOLE = ("tab-width", "min-lines", "crop-multiple", "cell-width", "cell-height")


def _bad(key: str, value: Any, wanted: str) -> InvalidStyle:
    return InvalidStyle(f"style key {key} is {value!r}, must be {wanted}", key=key)


def _check(style: Style) -> None:
    """Refuse what cannot be drawn, before any memory is taken. Raises InvalidStyle."""
    for item in fields(style):  # equal styles must have equal digests: 9 and 9.0 are one size
        value = getattr(style, item.name)
        if item.type == "float" and isinstance(value, int):
            object.__setattr__(style, item.name, float(value))
    size = tuple(float(side) for side in style.page_size)
    object.__setattr__(style, "page_size", size)
    object.__setattr__(style, "fallback_fonts", tuple(style.fallback_fonts))
    for key, low, high in _RANGES:
        value = getattr(style, key.replace("-", "_"))
        if not low <= value <= high:
            raise _bad(key, value, f"from {low:g} to {high:g}")
    if 0 < style.line_height < 1:
        raise _bad("line-height", style.line_height, "0 (font-size + 1), or from 1 to 10000")
    for side in style.page_size:
        if not 1 <= side <= 100_000:
            raise _bad("page-size", style.page_size, "two sides from 1 to 100000 points")
    for key in ("font-color", "para-border-color", "page-bg-color", "para-bg-color"):
        if not _COLOR.match(getattr(style, key.replace("-", "_"))):
            raise _bad(key, getattr(style, key.replace("-", "_")), "a colour such as #000000")
    for key, choices in _CHOICES.items():
        if getattr(style, key.replace("-", "_")) not in choices:
            raise _bad(key, getattr(style, key.replace("-", "_")), f"one of {', '.join(choices)}")
    _read_markup(style.newline_markup)
    pixels = style.page_width * style.page_height
    if pixels > MAX_PAGE_PIXELS:
        raise InvalidStyle(
            f"style keys page-size and dpi give pages of {style.page_width}×{style.page_height} = "
            f"{pixels} pixels, limit is {MAX_PAGE_PIXELS}; lower dpi (now {style.dpi:g})",
            key="dpi",
        )
    if style.layout != "exact":
        _check_local(style)
    if style.layout == "grid":
        _check_grid(style)
    else:
        _check_frame(style)


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
    "alignment": _ALIGNMENTS,
    "layout": ("exact", "flow", "grid"),
    "breaks": ("stable", "greedy"),
}


_EXACT_ONLY = (
    *("space_before", "space_after", "border_width", "border_padding", "horizontal_scale"),
    *("auto_crop_width", "auto_crop_last_page"),
)


def _check_local(style: Style) -> None:
    """Refuse what only the reference's own layout draws."""
    for name in _EXACT_ONLY:
        if getattr(style, name) != _DEFAULTS[name.replace("_", "-")]:
            key = name.replace("_", "-")
            raise InvalidStyle(
                f"style key {key} is {getattr(style, name)!r}, but layout {style.layout} draws "
                f"only {_DEFAULTS[key]!r}; leave it out or take layout exact",
                key=key,
            )
    if not style.marker_breaks or (style.marker and style.layout == "grid"):
        raise InvalidStyle(
            f"style key newline-markup {style.newline_markup!r} does not end the line, so a page "
            f"would depend on all text before it; layout {style.layout} takes "
            + ("<br/>" if style.layout == "grid" else "a marker followed by <br/>, or <br/>"),
            key="newline-markup",
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


FRAME_PADDING = 6.0
"""Points that reportlab's Frame adds inside every margin."""


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


_DEFAULTS = {item.name.replace("_", "-"): item.default for item in fields(Style)}
