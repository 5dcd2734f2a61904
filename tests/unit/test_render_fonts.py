"""Fonts: glyph pictures equal FreeType's own; what cannot be drawn is refused in words."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import freetype
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder, addFvar
from fontTools.pens.t2CharStringPen import T2CharStringPen
from fontTools.ttLib import TTFont

from glyph_worker.errors import FontUnusable
from glyph_worker.render.fonts.fontfile import FOLDER, find_font
from glyph_worker.render.fonts.typeface import Typeface
from glyph_worker.render.loops.blit import PHASES

SANS = FOLDER / "DejaVuSans.ttf"


def rendered_by_freetype(face: freetype.Face, glyph: int, size: float, phase: int) -> np.ndarray:
    """As poppler's Splash asks for it: whole size, matrix, unhinted; on a canvas of 128×128."""
    whole = int(size + 0.5)
    factor = int(size / whole * 65536)
    face.set_pixel_sizes(0, whole)
    face.set_transform(freetype.Matrix(factor, 0, 0, factor), freetype.Vector(16 * phase, 0))
    flags = freetype.FT_LOAD_NO_HINTING | freetype.FT_LOAD_NO_BITMAP | freetype.FT_LOAD_RENDER
    face.load_glyph(glyph, flags)
    bitmap = face.glyph.bitmap
    canvas = np.zeros((128, 128), np.uint8)
    if bitmap.rows and bitmap.width:
        pixels = np.array(bitmap.buffer, np.uint8).reshape(bitmap.rows, bitmap.pitch)
        top, left = 64 - face.glyph.bitmap_top, 48 + face.glyph.bitmap_left
        canvas[top : top + bitmap.rows, left : left + bitmap.width] = pixels[:, : bitmap.width]
    return canvas


@pytest.mark.parametrize("size", [9, 12, 9 * 100 / 72, 10 * 96 / 72, 7.5])
@pytest.mark.parametrize("name", ["DejaVuSans.ttf", "wqy-microhei.ttc"])
def test_pictures_equal_freetype_unhinted(name: str, size: float) -> None:
    font = find_font(name, key="font-path")
    typeface, face = Typeface(font, size), freetype.Face(str(FOLDER / name))
    glyphs = sorted(set(font.glyph_of.values()))
    for number in glyphs[:: len(glyphs) // 120]:
        for phase in range(PHASES):
            picture = typeface.glyph(number, phase)
            canvas = np.zeros((128, 128), np.uint8)
            rows, columns = picture.coverage.shape
            top, left = 64 + picture.top, 48 + picture.left
            canvas[top : top + rows, left : left + columns] = picture.coverage
            assert np.array_equal(canvas, rendered_by_freetype(face, number, size, phase)), number


def test_baked_batches_equal_single_glyphs() -> None:
    font = find_font("DejaVuSans.ttf", key="font-path")
    one, many = Typeface(font, 10.7), Typeface(font, 10.7)
    wanted = [(number, phase) for number in range(30, 90) for phase in range(PHASES)]
    many.prepare(wanted)
    for number, phase in wanted:
        assert np.array_equal(one.glyph(number, phase).coverage, many.glyph(number, phase).coverage)


def test_coarse_units_are_baked(tmp_path: Path) -> None:
    font = TTFont(SANS)
    font["head"].unitsPerEm = 256  # eight times as large, but legal
    path = tmp_path / "coarse.ttf"
    font.save(path)
    picture = Typeface(find_font(str(path), key="font-path"), 2).glyph(36, 1)
    face = freetype.Face(str(path))
    canvas = rendered_by_freetype(face, 36, 2, 1)
    assert picture.coverage.sum() == canvas.sum() > 0


def test_cff_font_is_refused(tmp_path: Path) -> None:
    builder = FontBuilder(1000, isTTF=False)
    builder.setupGlyphOrder([".notdef", "A"])
    builder.setupCharacterMap({65: "A"})
    pen = T2CharStringPen(500, None)
    pen.moveTo((0, 0))
    pen.lineTo((400, 0))
    pen.lineTo((200, 700))
    pen.closePath()
    charstring = pen.getCharString()
    builder.setupCFF("Test", {}, {".notdef": charstring, "A": charstring}, {})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "A": (500, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Test", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "cff.otf"
    builder.save(path)
    with pytest.raises(FontUnusable, match="CFF"):
        find_font(str(path), key="font-path")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no TrueType"),
        (b"not a font at all, only text", "TrueType"),
        (SANS.read_bytes()[:5000], "cut short"),
        (b"\0\1\0\0" + b"\0" * 60, "outlines"),
    ],
)
def test_broken_font_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "broken.ttf"
    path.write_bytes(raw)
    with pytest.raises(FontUnusable, match=f"font-path .*{message}"):
        find_font(str(path), key="font-path")


def test_variable_font_is_refused(tmp_path: Path) -> None:
    font = TTFont(SANS)
    addFvar(font, [("wght", 100, 400, 900, "Weight")], [])
    path = tmp_path / "variable.ttf"
    font.save(path)
    with pytest.raises(FontUnusable, match=r"font-path .*variable"):
        find_font(str(path), key="font-path")


def test_font_with_broken_glyphs_is_refused_when_drawn(tmp_path: Path) -> None:
    font = TTFont(SANS)
    out = BytesIO()
    font.save(out)
    raw = bytearray(out.getvalue())
    table = TTFont(BytesIO(bytes(raw))).reader.tables["glyf"]
    raw[table.offset : table.offset + table.length] = b"\x7f" * table.length
    path = tmp_path / "scrambled.ttf"
    path.write_bytes(bytes(raw))
    with pytest.raises(FontUnusable, match=r"glyph 36"):
        Typeface(find_font(str(path), key="font-path"), 9.5).glyph(36)


def test_every_font_brings_its_licence() -> None:
    text = "".join(path.read_text() for path in FOLDER.glob("LICENSE-*.txt"))
    for path in [*FOLDER.glob("*.ttf"), *FOLDER.glob("*.ttc")]:
        assert path.name.removesuffix("-Regular.ttf") in text, path.name
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000
