"""The rest that a cache server is given after it failed. No keys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import redis

from glyph_worker.errors import StoreFault, StoreUnavailable
from glyph_worker.store.url import hidden

FIRST_REST_S = 0.5
LONGEST_REST_S = 15.0


def get_string(client: redis.Redis, name: str) -> bytes | None:
    """GET; None also where the name holds another type, which is none of ours."""
    try:
        return cast("bytes | None", client.get(name))
    except StoreFault as exc:
        if "WRONGTYPE" in str(exc):
            return None
        raise


class Rest:
    """For callers without a breaker of their own: after a failure refuse at once for a while, so
    that a server that hangs costs one timeout and not one per page."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._for_s = 0.0
        self._until = 0.0

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Raises StoreUnavailable while the server rests, else what happens within."""
        if time.monotonic() < self._until:
            raise StoreUnavailable(
                f"cache server at {hidden(self._url)} failed a moment ago; it is asked again "
                f"within {self._for_s:.1f} s"
            )
        try:
            yield
        except StoreUnavailable:
            self._for_s = min(LONGEST_REST_S, max(FIRST_REST_S, 2 * self._for_s))
            self._until = time.monotonic() + self._for_s
            raise
        self._for_s = 0.0
