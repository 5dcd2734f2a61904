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
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from glyph_worker.document import digest
from glyph_worker.errors import InvalidStyle
from glyph_worker.render.fonts.fontfile import FontFile, find_font
from glyph_worker.render.style.limits import ALIGNMENTS, bad, check, read_markup

LAYOUT_VERSION = {"exact": 3, "flow": 5, "grid": 2}
"""By layout; raised whenever the same style and text would give other pages or pixels. Part of
every page digest."""

_REPORTLAB_ALIGNMENTS = {0: "LEFT", 1: "CENTER", 2: "RIGHT", 4: "JUSTIFY"}


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
    "NotoNaskhArabic-Regular.ttf",
    "NotoSansEthiopic-Regular.ttf",
    "NotoSansMyanmar-Regular.ttf",
    "NotoSansKhmer-Regular.ttf",
    "NotoSansSinhala-Regular.ttf",
    "NotoSansOriya-Regular.ttf",
    "NotoSerifTibetan-Regular.ttf",
    "NotoEmoji-Regular.ttf",
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
    """Crop pages to the ink (exact), or to the longest line and the next crop multiple (flow)."""
    auto_crop_last_page: bool = False
    layout: str = "exact"
    """`exact`: line by line what the reference does. `flow`: the same letters, stable page breaks.
    `grid`: one character per cell."""
    fallback_fonts: tuple[str, ...] = FALLBACK_FONTS
    """Asked in this order for characters that the font lacks."""
    tab_width: int = 4
    """Columns between tab stops (flow, grid)."""
    form: str = "lines"
    """How source lines are set (flow): `lines`, each on rows of its own; `marks`, run on, a faint
    mark for every line end and indentation; `auto`, by content: run on, joined where a paragraph
    was only hard-wrapped, tables at tab stops, drawings in cells."""
    mono_font_path: str = "DejaVuSansMono.ttf"
    """The monospaced font of drawings in cells (form auto)."""
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
        for item in fields(self):  # equal styles must have equal digests: 9 and 9.0 are one size
            value = getattr(self, item.name)
            if item.type == "float" and isinstance(value, int):
                object.__setattr__(self, item.name, float(value))
        object.__setattr__(self, "page_size", tuple(float(side) for side in self.page_size))
        object.__setattr__(self, "fallback_fonts", tuple(self.fallback_fonts))
        check(self)

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

    def to_json(self, *, defaults: bool = False) -> dict[str, Any]:
        """The mapping that from_json reads back to an equal style.

        Without `defaults` only what differs from the default, and the name: a release that lacks a
        key then reads every style that does not use it, as in a rolling upgrade it must.
        """
        out: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value == item.default and item.name != "name" and not defaults:
                continue
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
    def mono_font(self) -> FontFile | None:
        """The font of drawings set in cells; None where the form sets none. Raises FontUnusable."""
        if self.form != "auto":
            return None
        return find_font(self.mono_font_path, key="mono-font-path")

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over every field, the bytes of every font and the layout's version."""
        # Only what differs from the default: a key added later must not rename every page. Of the
        # fonts the bytes count, not the path.
        values = {
            key: value
            for key, value in self.to_json().items()
            if key not in ("name", "font-path", "fallback-fonts", "mono-font-path")
        }
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return digest(
            "render style",
            LAYOUT_VERSION[self.layout],
            canonical,
            *(font.digest for font in self.fonts),
            *([self.mono_font.digest] if self.mono_font is not None else []),
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
        return read_markup(self.newline_markup)[1]

    @property
    def marker_color(self) -> str:
        """Colour of the marker."""
        return read_markup(self.newline_markup)[0] or self.font_color

    @property
    def marker_breaks(self) -> bool:
        """Whether a line end also ends the line, as without a marker."""
        return read_markup(self.newline_markup)[2]

    @property
    def columns(self) -> int:
        """Cells in a line (grid)."""
        return self.page_width // self.cell_width

    @property
    def rows(self) -> int:
        """Lines on a full page (grid)."""
        return self.page_height // self.cell_height


def _converted(key: str, value: Any) -> Any:
    """A JSON value in the field's own type. Raises InvalidStyle."""
    default = _DEFAULTS[key]
    if key == "page-size":
        parts = value.split(",") if isinstance(value, str) else value
        try:
            width, height = (float(part) for part in parts)
        except (TypeError, ValueError):
            raise bad(key, value, 'two numbers, points, such as "595,842"') from None
        return (width, height)
    if key == "alignment":
        name = _REPORTLAB_ALIGNMENTS.get(value, value) if not isinstance(value, bool) else value
        if name not in ALIGNMENTS:
            raise bad(key, value, f"one of {', '.join(ALIGNMENTS)}")
        return name
    if isinstance(default, tuple):
        if isinstance(value, str) or not all(isinstance(part, str) for part in value):
            raise bad(key, value, "a list of font paths")
        return tuple(value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise bad(key, value, "true or false")
        return value
    if isinstance(default, str):
        if not isinstance(value, str):
            raise bad(key, value, "a string")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad(key, value, "a finite number")
    if isinstance(default, int) and key in _WHOLE:
        if value != int(value):
            raise bad(key, value, "a whole number")
        return int(value)
    return float(value)


_WHOLE = ("tab-width", "min-lines", "crop-multiple", "cell-width", "cell-height")


_DEFAULTS = {item.name.replace("_", "-"): item.default for item in fields(Style)}
