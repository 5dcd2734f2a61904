"""Kombu's Redis transport, with one thing mended: bytes that are no message do not end a worker.

Anyone who may write to a queue's list could otherwise stop every consumer with one push. Garbage
is taken off the list, said in the log, and forgotten; a lost message of ours is published again
by the reconciler. Leans on `Channel._brpop_read`; a contract test guards it.
"""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import redis as kombu_redis

log = structlog.get_logger(__name__)


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except (ValueError, TypeError, AttributeError, LookupError) as exc:
            # A connection error is none of these, but for the KeyError that kombu counts as one
            # when a descriptor went stale; reading on is right for that one too.
            log.error("queue.garbage", error=type(exc).__name__)
            raise kombu_redis.Empty from None


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    Channel = Channel
