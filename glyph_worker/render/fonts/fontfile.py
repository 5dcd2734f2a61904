"""A font as a file: where it is found, its bytes, their digest, what it covers. No pixels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont, TTLibError

from glyph_worker.errors import FontUnusable
from glyph_worker.render.fonts import sfnt

FOLDER = Path(__file__).parent
MAX_FONT_BYTES = 64_000_000


@dataclass(frozen=True)
class FontFile:
    """The bytes of one TrueType font. Equal by digest, wherever the file lies."""

    digest: str
    name: str = field(compare=False)
    raw: bytes = field(compare=False, repr=False)

    @cached_property
    def tables(self) -> dict[str, bytes]:
        """Tables of the (first) font by tag."""
        return sfnt.read_tables(self.raw, name=self.name)

    @cached_property
    def units_per_em(self) -> int:
        return int.from_bytes(self.tables["head"][18:20], "big")

    def thousandths(self, glyph: int) -> float:
        """Advance of a glyph in thousandths of the em, as reportlab computes it."""
        units, width = self.units_per_em, int(self.advances[glyph])
        return float(width) if units == 1000 else width * (1000 / units)

    @cached_property
    def advances(self) -> np.ndarray:
        """Advance widths in font units, int32[num_glyphs]."""
        return sfnt.advances(self.tables)

    @cached_property
    def glyph_of(self) -> dict[int, int]:
        """Glyph number by code point. Raises FontUnusable when there is no Unicode map."""
        try:
            best = TTFont(BytesIO(self.raw), fontNumber=0, lazy=True).getBestCmap()
            names = TTFont(BytesIO(self.raw), fontNumber=0, lazy=True)
            return {code: names.getGlyphID(glyph) for code, glyph in (best or {}).items()}
        except (TTLibError, AssertionError, KeyError, ValueError, IndexError) as exc:
            raise FontUnusable(f"font {self.name}: its character map is broken: {exc}") from exc


def find_font(path: str, *, key: str) -> FontFile:
    """The font at `path`, or the package's font of that file name.

    `key` is the style key to name in errors. Raises FontUnusable.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        place = FOLDER / Path(path).name
        if not place.is_file():
            brought = ", ".join(sorted(item.name for item in FOLDER.glob("*.tt[fc]")))
            raise FontUnusable(
                f"{key} {path!r} is no file, and no font of that name comes with the package "
                f"({brought}); give the path of a .ttf",
                key=key,
                path=path,
            )
    stat = place.stat()
    if stat.st_size > MAX_FONT_BYTES:
        raise FontUnusable(
            f"{key} {path!r} has {stat.st_size} bytes, limit is {MAX_FONT_BYTES}", key=key
        )
    try:
        return _read(place, stat.st_mtime_ns, stat.st_size)
    except FontUnusable as exc:
        raise FontUnusable(f"{key} {path!r}: {exc}", key=key, path=path) from exc


@lru_cache(maxsize=64)
def _read(place: Path, _mtime_ns: int, _size: int) -> FontFile:
    try:
        raw = place.read_bytes()
    except OSError as exc:
        raise FontUnusable(f"font {place} cannot be read: {exc}") from exc
    font = FontFile(hashlib.sha256(raw).hexdigest(), place.name, raw)
    if not font.tables or not font.glyph_of:
        raise FontUnusable(f"font {place} maps no Unicode character; choose another")
    return font
