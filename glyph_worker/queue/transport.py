"""Kombu's Redis transport on our own connections: our URLs, our errors, our prefix, Redis' clock.

What is mended, each of which ended a worker or gave a job out twice:
- Server: every reply that is an error raises one of ours. Those that pass (full, read-only,
  loading …) count as a lost connection, so the consumer comes again; those that do not (a wrong
  password) end it.
- QoS: an ack that cannot reach the broker is dropped, and times are the server's.
- Channel: bytes that are no message are skipped, and when a retry is due is told by the server's
  clock.

Leans on `Channel._get_pool`, `_get_client`, `_brpop_read`, `_put` and `Message`, and on
`QoS.append` and `restore_visible`; contract tests guard them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import redis
import structlog
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from glyph_worker.errors import TransientError
from glyph_worker.store.connection import Errors, Pipeline, Subscription, error_of
from glyph_worker.store.url import RedisUrl, hidden

log = structlog.get_logger(__name__)

DUE_AT = "glyph_due_at"
"""Header of a message that has an `eta`: the same, as seconds since the epoch by the server."""

RESTORED = 200
"""Most messages given out again in one turn."""

_RESTORE = """
-- KEYS[1] leases  KEYS[2] taken messages  ARGV[1] the latest lease that has lapsed
-- ARGV[2..] tag, list, message, … ; no list for a lease without a message
for at = 2, #ARGV, 3 do
  local lease = redis.call('ZSCORE', KEYS[1], ARGV[at])
  if lease and tonumber(lease) <= tonumber(ARGV[1]) then
    -- The write that a full server refuses comes first: then nothing is changed.
    if ARGV[at + 1] ~= '' then redis.call('RPUSH', ARGV[at + 1], ARGV[at + 2]) end
    redis.call('ZREM', KEYS[1], ARGV[at])
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
"""


class PrefixedPipeline(kombu_redis.GlobalKeyPrefixMixin, Pipeline):  # type: ignore[misc]
    global_keyprefix = ""


class PrefixedSubscription(kombu_redis.PrefixedRedisPubSub, Subscription):  # type: ignore[misc]
    pass


class Client(kombu_redis.GlobalKeyPrefixMixin, Errors, redis.Redis):  # type: ignore[misc]
    """A client that prefixes the keys it uses and raises our errors."""

    def __init__(self, *, url: str, global_keyprefix: str, connection_pool: Any) -> None:
        self.url, self.global_keyprefix = url, global_keyprefix
        super().__init__(connection_pool=connection_pool)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> PrefixedPipeline:
        pipe = PrefixedPipeline(
            self.connection_pool, self.response_callbacks, transaction, shard_hint
        )
        pipe.url, pipe.global_keyprefix = self.url, self.global_keyprefix
        return pipe

    def pubsub(self, **kwargs: Any) -> PrefixedSubscription:
        channel = PrefixedSubscription(self.connection_pool, **kwargs)
        channel.url, channel.global_keyprefix = self.url, self.global_keyprefix
        return channel


class QoS(kombu_redis.QoS):  # type: ignore[misc]
    """Acks that cannot fail, and leases on the server's clock.

    An ack that cannot reach the broker is dropped, and the message forgotten here. The lease then
    brings it back, and the claim sees what became of the job. Kombu's own fails on a closed channel
    with an AttributeError that ends the worker; on an open one it keeps the message, so that its
    lease is renewed for ever and its place among those taken is never free again.

    Kombu writes each machine's own time beside a message it takes, and compares it with another's:
    a worker whose clock is ahead by a lease would give out again what all the others work on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ahead_s: float | None = None
        """The server's time minus our monotonic one, as last seen."""

    def server_time(self, client: Any) -> float:
        """Seconds since the epoch by the server's clock, asked for now."""
        seconds, micros = client.time()
        now = float(seconds) + float(micros) / 1e6
        self._ahead_s = now - time.monotonic()
        return now

    def now(self, client: Any) -> float:
        """The same, counted on from when it was last asked for: not over a second ago, where
        messages are taken."""
        if self._ahead_s is None:
            return self.server_time(client)
        return self._ahead_s + time.monotonic()

    def append(self, message: Any, delivery_tag: str) -> None:
        delivery = message.delivery_info
        raw = dumps([message._raw, delivery["exchange"], delivery["routing_key"]])
        with self.channel.conn_or_acquire() as client:
            now = self.now(client)
            pipe = client.pipeline()
            pipe.zadd(self.unacked_index_key, {delivery_tag: now})
            pipe.hset(self.unacked_key, delivery_tag, raw)
            pipe.execute()
        virtual.QoS.append(self, message, delivery_tag)

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int = 10) -> None:
        """Give out again what nobody renews the lease of. Once a second, from the event loop.

        All at once, and what was renewed or acknowledged meanwhile stays: kombu's own takes some
        round trips for each message under a lock, which over a slow link holds up everybody.
        """
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        prefix = self.channel.global_keyprefix
        index, taken = prefix + self.unacked_index_key, prefix + self.unacked_key
        with self.channel.conn_or_acquire() as client:
            lapsed = self.server_time(client) - self.visibility_timeout
            tags = client.zrangebyscore(index, "-inf", lapsed, start=0, num=num or RESTORED)
            if not tags:
                return
            rows: list[Any] = []
            for tag, raw in zip(tags, client.hmget(taken, tags), strict=True):
                rows += (tag, *self._given_out(raw))
            client.eval(_RESTORE, 2, index, taken, lapsed, *rows)

    def _given_out(self, raw: bytes | None) -> tuple[str, str]:
        """The list that a taken message goes back to, and the message; ('', '') for none."""
        if raw is None:
            return "", ""
        channel = self.channel
        try:
            message, exchange, routing_key = loads(raw.decode())
            message["headers"]["redelivered"] = True
            message["properties"]["delivery_info"]["redelivered"] = True
            priority = channel._get_message_priority(message, reverse=False)
        except (ValueError, LookupError, TypeError) as exc:
            log.error("queue.garbage", error=type(exc).__name__)
            return "", ""
        (queue, *_) = channel._lookup(exchange, routing_key)
        return channel.global_keyprefix + channel._q_for_pri(queue, priority), dumps(message)

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


class Message(virtual.Message):  # type: ignore[misc]
    """Is due when the server's clock says so.

    Else a worker whose clock is a minute behind the sender's would hold it for a minute, its lease
    renewed, and nobody else could take it.
    """

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        headers = payload.get("headers") or {}
        if headers.get("eta") and headers.get(DUE_AT):
            with channel.conn_or_acquire() as client:
                left_s = float(headers[DUE_AT]) - channel.qos.now(client)
            headers["eta"] = datetime.fromtimestamp(time.time() + left_s, UTC).isoformat()
        super().__init__(payload, channel=channel, **kwargs)


class Channel(kombu_redis.Channel):  # type: ignore[misc]
    QoS = QoS
    Message = Message

    @property
    def url(self) -> str:
        """Of the broker, as the settings have it: kombu reads none itself."""
        return str(self.connection.client.hostname)

    def _get_client(self) -> Callable[..., Client]:
        return partial(Client, url=self.url, global_keyprefix=self.global_keyprefix)

    def _get_pool(self, asynchronous: bool = False) -> redis.ConnectionPool:
        server = RedisUrl.parse(self.url)
        pool = server.pool(
            max_connections=self.max_connections,
            socket_timeout=self.socket_timeout,
            socket_connect_timeout=self.socket_connect_timeout,
            socket_keepalive=self.socket_keepalive,
            health_check_interval=self.health_check_interval,
            protocol=2,
        )
        self.keyprefix_fanout: str = self.keyprefix_fanout.format(db=server.db)
        if asynchronous:
            pool.connection_class = _unregistering(pool.connection_class, self)
        return pool

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        """Celery says by the sender's clock when a message is due; here the server's is added."""
        headers = message.get("headers") or {}
        if headers.get("eta"):
            left_s = (datetime.fromisoformat(headers["eta"]) - datetime.now(UTC)).total_seconds()
            with self.conn_or_acquire() as client:
                headers[DUE_AT] = self.qos.server_time(client) + left_s
        super()._put(queue, message, **kwargs)

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except redis.ResponseError as exc:
            raise error_of(exc, self.url) from exc
        except (ValueError, TypeError, AttributeError, LookupError) as exc:
            # A connection error is none of these, but for the KeyError that kombu counts as one
            # when a descriptor went stale; reading on is right for that one too.
            log.error("queue.garbage", error=type(exc).__name__)
            raise kombu_redis.Empty from None


def _unregistering(kind: Any, channel: Channel) -> Any:
    """A kind of connection that takes itself out of the event loop when it ends, as kombu's do."""

    class Connection(kind):  # type: ignore[misc]
        def disconnect(self, *args: Any, **kwargs: Any) -> None:
            super().disconnect(*args, **kwargs)
            if channel._registered:
                channel._on_connection_disconnect(self)

    return Connection


class Transport(kombu_redis.Transport):  # type: ignore[misc]
    Channel = Channel
    can_parse_url = True
    # What passes by itself is met by connecting again; a ConfigurationError is not.
    connection_errors = (*kombu_redis.Transport.connection_errors, TransientError)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        return uri if include_password else hidden(uri)
