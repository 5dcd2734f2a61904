"""The job scripts, each behind the common part, run by hash and loaded again when forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from glyph_worker.errors import StoreUnavailable
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys

_FOLDER = resources.files("glyph_worker.store").joinpath("lua")
_TRIES = 3
"""redis-py loads a forgotten script and runs it, and reconnects on the way: a server that restarts
between the two has forgotten it again. Nothing has run then."""


class Scripts:
    """Every call is one round trip and atomic. Raises StoreUnavailable, StoreFull, StoreDenied."""

    def __init__(self, client: Server, keys: Keys, *, ttl_s: int) -> None:
        self._client = client
        self._root = keys.root
        self._ttl_s = ttl_s
        self._common = _FOLDER.joinpath("common.lua").read_text()
        self._loaded: dict[str, Any] = {}

    def __call__(self, name: str, *args: Any) -> Any:
        if name not in self._loaded:
            body = self._common + _FOLDER.joinpath(f"{name}.lua").read_text()
            self._loaded[name] = self._client.register_script(body)
        for _ in range(_TRIES):
            with suppress(NoScriptError):
                return self._loaded[name](keys=[self._root], args=[self._ttl_s, *args])
        raise StoreUnavailable(f"{self._client} forgets scripts as soon as they are loaded")


def flat(fields: dict[str, Any]) -> Sequence[Any]:
    """Field, value, field, value, … ; never empty, because HSET refuses nothing."""
    return [part for pair in fields.items() for part in pair] or ["v", 1]
