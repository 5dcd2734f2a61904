"""Versioned msgpack envelopes for everything we put on a wire. Never pickle. No I/O.

An envelope is the msgpack array `[version, kind, fields]`. A reader accepts its own version and
older ones; a newer one means that this process is the old half of a rolling deploy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from glyph_worker.errors import TransientError

VERSION = 1


class UnreadableEnvelope(TransientError):
    """The bytes are no envelope, of another kind, or newer than this process."""

    code = "unreadable_envelope"


def pack(kind: str, fields: Mapping[str, Any]) -> bytes:
    """One envelope; `fields` holds what msgpack holds: None, bool, int, float, str, bytes, …"""
    raw: bytes = msgpack.packb([VERSION, kind, dict(fields)], use_bin_type=True)
    return raw


def unpack(kind: str, raw: bytes) -> dict[str, Any]:
    """The fields of an envelope of this kind. Raises UnreadableEnvelope."""
    try:
        version, found, fields = msgpack.unpackb(raw, raw=False, strict_map_key=True)
    except (ValueError, TypeError, msgpack.UnpackException) as exc:
        raise UnreadableEnvelope(f"{len(raw)} bytes are no {kind} envelope: {exc}") from exc
    if found != kind or not isinstance(fields, dict) or not isinstance(version, int):
        raise UnreadableEnvelope(f"expected a {kind} envelope, found {found!r}")
    if version > VERSION:
        raise UnreadableEnvelope(
            f"{kind} envelope has version {version}, this process reads up to {VERSION}; "
            "finish the rolling deploy",
            version=version,
        )
    return fields
