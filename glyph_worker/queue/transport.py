"""Kombu's Redis transport, with two things mended, each of which ended a worker.

Bytes that are no message (below), and acks on a connection that is closed (QoS).

Anyone who may write to a queue's list could otherwise stop every consumer with one push. Garbage
is taken off the list, said in the log, and forgotten; a lost message of ours is published again
by the reconciler. Leans on `Channel._brpop_read`; a contract test guards it.
"""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import redis as kombu_redis

log = structlog.get_logger(__name__)


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    """A job that ends after its connection broke cannot be acked on it any more.

    Kombu's own then fails with an AttributeError that ends the worker. Dropped instead: the lease
    brings the message back, and the claim sees that the job is final.
    """

    def ack(self, delivery_tag: str) -> None:
        if self._open():
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if self._open():
            super().reject(delivery_tag, requeue=requeue)

    def _open(self) -> bool:
        if self.channel.connection is None:
            log.info("queue.ack_dropped", reason="its connection is closed")
            return False
        return True


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
