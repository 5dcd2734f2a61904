"""Pages as bytes for the cache: a checked header and lz4 or zstd. Raw pixels, never PNG."""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np
import zstandard

MAGIC = b"GLYP"
VERSION = 1
COLOR_VERSION = 2
"""Of pages with three bytes a pixel: a release that knows none takes them for a miss."""
_HEADER = struct.Struct(">4sBBHHIII")
_ZSTD = 1
_MAX_PIXELS = 50_000_000


class WireError(ValueError):
    """Bytes that are no page, or a damaged one: for a cache, a miss."""


def pack_page(pixels: np.ndarray) -> bytes:
    """Header (28 bytes... see _HEADER) and the compressed rows of a page, uint8[height, width], or
    [height, width, 3]."""
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or pixels.shape[2:] == (3,)):
        raise WireError(f"a page is uint8[height, width(, 3)], not {pixels.dtype}{pixels.shape}")
    height, width = pixels.shape[:2]
    version = VERSION if pixels.ndim == 2 else COLOR_VERSION
    raw = np.ascontiguousarray(pixels).tobytes()
    body = zstandard.ZstdCompressor(level=1).compress(raw)
    header = _HEADER.pack(
        MAGIC, version, _ZSTD, height, width, len(body), zlib.crc32(body), zlib.crc32(raw)
    )
    return header + body


def unpack_page(raw: bytes) -> np.ndarray:
    """The pixels that pack_page took, read-only. Raises WireError."""
    if len(raw) < _HEADER.size:
        raise WireError(f"{len(raw)} bytes are too few for a page's header of {_HEADER.size}")
    magic, version, codec, height, width, length, body_crc, crc = _HEADER.unpack_from(raw)
    if magic != MAGIC or version not in (VERSION, COLOR_VERSION) or codec != _ZSTD:
        raise WireError(f"no page of version {VERSION}: starts with {raw[:6]!r}")
    shape = (height, width) if version == VERSION else (height, width, 3)
    size = math.prod(shape)
    body = raw[_HEADER.size :]
    if len(body) != length or zlib.crc32(body) != body_crc or height * width > _MAX_PIXELS:
        raise WireError(f"page of {width}×{height} is damaged: {len(body)} of {length} bytes")
    try:
        pixels = zstandard.ZstdDecompressor().decompress(body, max_output_size=size)
    except zstandard.ZstdError as exc:
        raise WireError(f"page of {width}×{height} is damaged: {exc}") from exc
    if len(pixels) != size or zlib.crc32(pixels) != crc:
        raise WireError(f"page of {width}×{height} is damaged: checksum differs")
    return np.frombuffer(pixels, np.uint8).reshape(shape)
