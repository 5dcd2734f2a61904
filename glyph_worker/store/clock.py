"""The one clock that times are compared on: the server's. Machines' own may be minutes apart."""

from __future__ import annotations

from typing import Any, cast

from glyph_worker.store.connection import Server


def server_time(client: Server) -> float:
    """Seconds since the epoch. Raises StoreUnavailable."""
    return seconds(client.time())


def seconds(reply: Any) -> float:
    """A reply of TIME as seconds."""
    whole, micros = cast("tuple[int, int]", reply)
    return int(whole) + int(micros) / 1e6
