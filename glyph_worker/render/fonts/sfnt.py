"""TrueType containers as bytes: read tables, and rewrite a font for unhinted drawing. No pixels.

Pillow always asks FreeType for hinted glyphs at whole pixels. `unhinted` therefore rewrites the
font in memory: a control program that switches glyph programs off (INSTCTRL), fractional scaling
allowed (head.flags bit 3 cleared), every glyph moved right through its left side bearing, and a
character map that names glyph n as U+F0000+n, so that any glyph can be drawn.
"""

from __future__ import annotations

import struct

import numpy as np

from glyph_worker.errors import FontUnusable

GLYPH_PLANE = 0xF0000
"""First code point of the private plane by which rewritten fonts name their glyphs."""

# PUSHB[2] 1 1; INSTCTRL: glyph programs off. The padding (PUSHB 0; POP) keeps the program longer
# than 7 bytes, below which FreeType takes its auto-hinter instead.
_NO_HINTING = b"\xb1\x01\x01\x8e" + b"\xb0\x00\x21" * 4
_KEPT = ("head", "hhea", "maxp", "hmtx", "loca", "glyf", "OS/2", "post", "name")
_NEEDED = ("head", "hhea", "maxp", "hmtx", "loca", "glyf", "cmap")


def read_tables(raw: bytes, *, name: str) -> dict[str, bytes]:
    """Tables by tag of a TrueType file, or of the first font of a collection.

    Raises FontUnusable for anything that has no TrueType outlines.
    """
    try:
        start = struct.unpack_from(">I", raw, 12)[0] if raw[:4] == b"ttcf" else 0
        kind = raw[start : start + 4]
        if kind not in (b"\0\1\0\0", b"true", b"OTTO"):
            raise FontUnusable(
                f"font {name} is no TrueType file (starts with {raw[:4]!r}); give the path of a "
                ".ttf or .ttc"
            )
        (num_tables,) = struct.unpack_from(">H", raw, start + 4)
        tables = {}
        for i in range(num_tables):
            tag, _, offset, length = struct.unpack_from(">4sIII", raw, start + 12 + 16 * i)
            if offset + length > len(raw):
                raise FontUnusable(
                    f"font {name} is cut short: table {tag.decode('latin-1')} ends at byte "
                    f"{offset + length} of {len(raw)}; copy the file again"
                )
            tables[tag.decode("latin-1")] = raw[offset : offset + length]
    except struct.error as exc:
        raise FontUnusable(
            f"font {name} is no TrueType file ({len(raw)} bytes); give the path of a .ttf or .ttc"
        ) from exc
    if kind == b"OTTO" or "CFF " in tables or "CFF2" in tables:
        raise FontUnusable(
            f"font {name} has CFF outlines; only TrueType (glyf) outlines can be drawn: "
            "choose the .ttf edition of the font"
        )
    if "fvar" in tables:
        raise FontUnusable(
            f"font {name} is variable and would be drawn in its default weight whatever was meant; "
            "save the instance you want, e.g. with fonttools varLib.instancer"
        )
    missing = [tag for tag in _NEEDED if tag not in tables]
    if missing:
        raise FontUnusable(
            f"font {name} has no usable TrueType outlines (lacks {', '.join(missing)}); "
            "give the path of a .ttf or .ttc"
        )
    return tables


def unhinted(tables: dict[str, bytes], *, lefts: np.ndarray | None = None) -> bytes:
    """A font drawing the same outlines unhinted, moved to other left side bearings.

    lefts: int[num_glyphs] in font units; None keeps the font's own.
    """
    kept = {tag: tables[tag] for tag in _KEPT if tag in tables}
    head = bytearray(kept["head"])
    (flags,) = struct.unpack_from(">H", head, 16)
    struct.pack_into(">H", head, 16, flags & ~8)
    kept["head"] = bytes(head)
    kept["prep"] = _NO_HINTING
    (num_glyphs,) = struct.unpack_from(">H", tables["maxp"], 4)
    (num_long,) = struct.unpack_from(">H", tables["hhea"], 34)
    if lefts is not None:
        table = np.frombuffer(tables["hmtx"][: 4 * num_long + 2 * (num_glyphs - num_long)], ">i2")
        table = table.copy()
        table[1 : 2 * num_long : 2] = lefts[:num_long]
        table[2 * num_long :] = lefts[num_long:]
        kept["hmtx"] = table.tobytes()
    kept["cmap"] = struct.pack(
        ">HHHHIHHIIIIII",
        *(0, 1, 3, 10, 12),
        *(12, 0, 28, 0, 1),
        *(GLYPH_PLANE, GLYPH_PLANE + num_glyphs - 1, 0),
    )
    return _assemble(kept)


def advances(tables: dict[str, bytes]) -> np.ndarray:
    """Advance widths in font units, int32[num_glyphs]."""
    (num_glyphs,) = struct.unpack_from(">H", tables["maxp"], 4)
    (num_long,) = struct.unpack_from(">H", tables["hhea"], 34)
    long = np.frombuffer(tables["hmtx"], ">u2", count=2 * num_long)[::2].astype(np.int32)
    return np.concatenate([long, np.full(max(0, num_glyphs - num_long), long[-1], np.int32)])


def bearings(tables: dict[str, bytes]) -> np.ndarray:
    """Left side bearings in font units, int32[num_glyphs]."""
    (num_glyphs,) = struct.unpack_from(">H", tables["maxp"], 4)
    (num_long,) = struct.unpack_from(">H", tables["hhea"], 34)
    table = np.frombuffer(tables["hmtx"][: 4 * num_long + 2 * (num_glyphs - num_long)], ">i2")
    return np.concatenate([table[1 : 2 * num_long : 2], table[2 * num_long :]]).astype(np.int32)


def _assemble(tables: dict[str, bytes]) -> bytes:
    count = len(tables)
    exponent = count.bit_length() - 1
    search = 16 << exponent
    header = [struct.pack(">IHHHH", 0x10000, count, search, exponent, count * 16 - search)]
    body, offset = [], 12 + 16 * count
    for tag in sorted(tables):
        raw = tables[tag]
        header.append(tag.encode() + struct.pack(">III", 0, offset, len(raw)))
        body.append(raw + b"\0" * (-len(raw) % 4))
        offset += len(body[-1])
    return b"".join(header + body)
