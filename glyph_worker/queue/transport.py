"""Kombu's Redis transport, with two things mended, each of which ended a worker.

Bytes that are no message (below), and acks that cannot reach the broker (QoS).

Anyone who may write to a queue's list could otherwise stop every consumer with one push. Garbage
is taken off the list, said in the log, and forgotten; a lost message of ours is published again
by the reconciler. Leans on `Channel._brpop_read`; a contract test guards it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

log = structlog.get_logger(__name__)


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    """An ack that cannot reach the broker is dropped, and the message forgotten here.

    The lease then brings it back, and the claim sees what became of the job. Kombu's own fails on a
    closed channel with an AttributeError that ends the worker; on an open one it keeps the message,
    so that its lease is renewed for ever and its place among those taken is never free again.
    """

    def ack(self, delivery_tag: str) -> None:
        self._settle(delivery_tag, super().ack)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        self._settle(delivery_tag, partial(super().reject, requeue=requeue))

    def _settle(self, delivery_tag: str, settle: Callable[[str], None]) -> None:
        reason = "its connection is closed"
        if self.channel.connection is not None:
            try:
                settle(delivery_tag)
                return
            except self.channel.connection_errors as exc:
                reason = type(exc).__name__
        log.info("queue.ack_dropped", reason=reason)
        virtual.QoS.ack(self, delivery_tag)


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    QoS = QoS

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
