"""Outlines at an exact place and size, as a font that draws them one to one. No pixels.

For font sizes that are no whole number of pixels poppler asks FreeType for the next whole size and
then scales the outline with a matrix, in 26.6 fixed point. Pillow cannot; but it draws a font whose
units are those very 1/64 pixels. So the outlines are computed here, with FreeType's own rounding,
and written into a small TrueType font.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from glyph_worker.errors import FontUnusable
from glyph_worker.render.fonts import sfnt
from glyph_worker.render.fonts.fontfile import FontFile

PIXELS_PER_EM = 64
_UNITS = PIXELS_PER_EM * 64
_ONE = 0x10000
_MAX_DEPTH = 8
_WORDS, _XY, _SCALE, _MORE, _XY_SCALE, _TWO_BY_TWO = 0x1, 0x2, 0x8, 0x20, 0x40, 0x80
_USE_MY_METRICS = 0x200


class Contours:
    """One outline: xy int64[n, 2], flags uint8[n] (bit 0: on the curve), end of every contour."""

    def __init__(self, xy: np.ndarray, flags: np.ndarray, ends: list[int]) -> None:
        self.xy = xy
        self.flags = flags
        self.ends = ends


def mul_fix(value: np.ndarray | int, factor: int) -> np.ndarray:
    """FreeType's FT_MulFix: value * factor / 65536, halves away from zero."""
    product = np.asarray(value, np.int64) * factor
    rounded: np.ndarray = np.sign(product) * ((np.abs(product) + 0x8000) >> 16)
    return rounded


class Outlines:
    """Glyph outlines of one font at `size` pixels per em, in 1/64 pixels, as Splash places them."""

    def __init__(self, font: FontFile, size: float) -> None:
        self._font = font
        tables = font.tables
        whole = max(1, int(size + 0.5))
        self.matrix = int(size / whole * _ONE)
        """16.16 factor from the whole size to the wanted one; 65536 for whole sizes."""
        self._scale = ((whole * 64 << 16) + font.units_per_em // 2) // font.units_per_em
        (num_glyphs,) = struct.unpack_from(">H", tables["maxp"], 4)
        long = struct.unpack_from(">h", tables["head"], 50)[0]
        kind = ">u4" if long else ">u2"
        self._places = np.frombuffer(tables["loca"], kind, num_glyphs + 1).astype(np.int64)
        self._places *= 1 if long else 2
        self._bearings = sfnt.bearings(tables)

    def shifted_bearings(self, shift: int) -> np.ndarray | None:
        """Left side bearings that move every glyph right by `shift` sixty-fourths of a pixel at a
        whole size, in FreeType's rounding; int64[num_glyphs]. None where no bearing does."""
        heads = np.frombuffer(self._font.tables["glyf"] + b"\0" * 4, np.uint8)
        filled = self._places[1:] > self._places[:-1]
        at = np.where(filled, self._places[:-1], 0)
        high, low = heads[at + 2].astype(np.int64), heads[at + 3].astype(np.int64)
        lows = ((high << 8 | low) ^ 0x8000) - 0x8000  # xMin of the glyph's header
        lows = np.where(filled, lows, 0)
        wanted = mul_fix(lows - self._bearings, self._scale) - shift
        moved = np.rint(wanted * (_ONE / self._scale)).astype(np.int64)
        if not np.array_equal(mul_fix(moved, self._scale), wanted):
            return None
        lefts = lows - moved
        return lefts if np.abs(lefts).max(initial=0) < 32_768 else None

    def outline(self, glyph: int, shift: int) -> Contours:
        """One glyph, moved right by `shift` sixty-fourths of a pixel. Raises FontUnusable."""
        try:
            origin = self._origin(glyph, 0)
            found = self._scaled(glyph, 0)
        except (struct.error, IndexError, ValueError) as exc:
            raise FontUnusable(f"font {self._font.name}: glyph {glyph} is broken: {exc}") from exc
        found.xy[:, 0] -= mul_fix(origin, self._scale)
        found.xy = mul_fix(found.xy, self.matrix)
        found.xy[:, 0] += shift
        return found

    def _origin(self, glyph: int, depth: int) -> int:
        """Where the glyph's pen is in its outline, font units; may be that of a component."""
        raw = self._raw(glyph)
        if len(raw) < 10 or depth > _MAX_DEPTH:
            return 0
        num_contours, x_min = struct.unpack_from(">hh", raw, 0)
        if num_contours < 0:
            for flags, part, _, _ in _components(raw):
                if flags & _USE_MY_METRICS:
                    return self._origin(part, depth + 1)
        return int(x_min) - int(self._bearings[glyph])

    def _raw(self, glyph: int) -> bytes:
        return self._font.tables["glyf"][self._places[glyph] : self._places[glyph + 1]]

    def _scaled(self, glyph: int, depth: int) -> Contours:
        raw = self._raw(glyph)
        if len(raw) < 10 or depth > _MAX_DEPTH:
            return Contours(np.zeros((0, 2), np.int64), np.zeros(0, np.uint8), [])
        (num_contours,) = struct.unpack_from(">h", raw, 0)
        if num_contours < 0:
            return self._composite(raw, depth)
        return self._simple(raw, num_contours)

    def _simple(self, raw: bytes, num_contours: int) -> Contours:
        ends = list(struct.unpack_from(f">{num_contours}H", raw, 10))
        at = 10 + 2 * num_contours
        at += 2 + struct.unpack_from(">H", raw, at)[0]
        count = ends[-1] + 1 if ends else 0
        flags: list[int] = []
        while len(flags) < count:
            flag = raw[at]
            at += 1
            flags.append(flag)
            if flag & 8:
                flags.extend([flag] * raw[at])
                at += 1
        xy = np.zeros((count, 2), np.int64)
        for axis, (short, same) in enumerate(((2, 16), (4, 32))):
            value = 0
            for index in range(count):
                flag = flags[index]
                if flag & short:
                    value += raw[at] if flag & same else -raw[at]
                    at += 1
                elif not flag & same:
                    value += struct.unpack_from(">h", raw, at)[0]
                    at += 2
                xy[index, axis] = value
        kept = np.array(flags[:count], np.uint8) & 0x41  # on the curve; overlapping contours
        return Contours(mul_fix(xy, self._scale), kept, ends)

    def _composite(self, raw: bytes, depth: int) -> Contours:
        whole = Contours(np.zeros((0, 2), np.int64), np.zeros(0, np.uint8), [])
        for flags, part, (dx, dy), factors in _components(raw):
            piece = self._scaled(part, depth + 1)
            if factors:
                xx, yx, xy, yy = factors
                x, y = piece.xy[:, 0].copy(), piece.xy[:, 1].copy()
                piece.xy[:, 0] = mul_fix(x, xx) + mul_fix(y, xy)
                piece.xy[:, 1] = mul_fix(x, yx) + mul_fix(y, yy)
            if flags & _XY:
                piece.xy += mul_fix(np.array([dx, dy]), self._scale)
            else:  # two points that must meet
                piece.xy += whole.xy[dx] - piece.xy[dy]
            whole.ends += [end + len(whole.flags) for end in piece.ends]
            whole.xy = np.concatenate([whole.xy, piece.xy])
            whole.flags = np.concatenate([whole.flags, piece.flags])
        return whole


def _components(raw: bytes) -> Iterator[tuple[int, int, tuple[int, int], list[int]]]:
    """Flags, glyph, offset and 16.16 matrix (empty for none) of every part of a composite."""
    at, flags = 10, _MORE
    while flags & _MORE:
        flags, part = struct.unpack_from(">HH", raw, at)
        kind = "h" if flags & _WORDS else "b"
        dx, dy = struct.unpack_from(f">2{kind if flags & _XY else kind.upper()}", raw, at + 4)
        at += 8 if flags & _WORDS else 6
        factors: list[int] = []
        if flags & (_SCALE | _XY_SCALE | _TWO_BY_TWO):
            num = 1 if flags & _SCALE else 2 if flags & _XY_SCALE else 4
            read = [value * 4 for value in struct.unpack_from(f">{num}h", raw, at)]
            at += 2 * num
            factors = [read[0], 0, 0, read[-1]] if num < 4 else read
        yield flags, part, (dx, dy), factors


def bake(outlines: Sequence[Contours]) -> bytes:
    """A font whose glyph n draws outlines[n] as it stands, at PIXELS_PER_EM pixels per em.

    Raises FontUnusable for outlines larger than 500 pixels.
    """
    glyphs, places, bearings = [], [0], []
    most_points = most_contours = 0
    for outline in outlines:
        raw, left = _encoded(outline)
        glyphs.append(raw)
        places.append(places[-1] + len(raw))
        bearings.append(left)
        most_points = max(most_points, len(outline.flags))
        most_contours = max(most_contours, len(outline.ends))
    count = len(glyphs)
    tables = {
        "head": struct.pack(
            ">IIIIHHQQhhhhHHhhh",
            *(0x10000, 0x10000, 0, 0x5F0F3CF5, 0, _UNITS, 0, 0),
            *(-32768, -32768, 32767, 32767, 0, 1, 2, 1, 0),
        ),
        "hhea": struct.pack(">IhhhHhhhhhhhhhhhH", 0x10000, _UNITS, 0, *(0,) * 13, count),
        "maxp": struct.pack(
            ">IHHHHHHHHHHHHHH",
            *(0x10000, count, most_points, most_contours, 0, 0, 2, 0, 0, 0, 0, 16, 0, 0, 0),
        ),
        "hmtx": b"".join(struct.pack(">Hh", _UNITS, left) for left in bearings),
        "loca": struct.pack(f">{count + 1}I", *places),
        "glyf": b"".join(glyphs) or b"\0",
    }
    return sfnt.unhinted(tables)


def _encoded(outline: Contours) -> tuple[bytes, int]:
    """A simple glyph, every coordinate in two bytes; and its left edge."""
    xy = outline.xy
    if not len(xy):
        return b"", 0
    low, high = xy.min(0), xy.max(0)
    if low.min() < -32_000 or high.max() > 32_000:
        raise FontUnusable("a glyph is larger than 500 pixels; lower font-size or dpi")
    deltas = np.diff(xy, axis=0, prepend=np.zeros((1, 2), np.int64))
    raw = struct.pack(">hhhhh", len(outline.ends), *map(int, (*low, *high)))
    raw += struct.pack(f">{len(outline.ends)}H", *outline.ends) + b"\0\0"
    raw += outline.flags.tobytes()
    raw += deltas[:, 0].astype(">i2").tobytes() + deltas[:, 1].astype(">i2").tobytes()
    return raw + b"\0" * (-len(raw) % 4), int(low[0])
