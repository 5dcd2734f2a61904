"""The same server for asyncio: a client made from a synchronous one's settings. Sends nothing."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.sentinel import SentinelConnectionPool as SyncSentinelPool

_CONNECTIONS: dict[type[Any], type[Any]] = {
    redis.Connection: redis.asyncio.Connection,
    redis.SSLConnection: redis.asyncio.SSLConnection,
    redis.UnixDomainSocketConnection: redis.asyncio.UnixDomainSocketConnection,
}

_KEPT = (
    "host", "port", "db", "path", "username", "password", "client_name", "socket_timeout",
    "socket_connect_timeout", "socket_keepalive", "health_check_interval", "protocol",
    "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password",
    "ssl_check_hostname",
)  # fmt: skip


def twin_of(client: redis.Redis) -> redis.asyncio.Redis:
    """A client for the event loop it is first used in; whoever makes it closes it (`aclose`).

    Its errors are redis-py's, for `translated`.
    """
    pool = client.connection_pool
    given = _kept(pool.connection_kwargs) | {"retry": Retry(ExponentialBackoff(0.5, 0.02), 3)}
    if isinstance(pool, SyncSentinelPool):
        manager = pool.sentinel_manager
        hosts = [
            (one.connection_pool.connection_kwargs["host"],
             one.connection_pool.connection_kwargs["port"])
            for one in manager.sentinels
        ]  # fmt: skip
        asked = {**manager.sentinel_kwargs, "retry": Retry(NoBackoff(), 0)}
        known = Sentinel(hosts, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
        named = {name: value for name, value in given.items() if name not in ("host", "port")}
        if pool.connection_kwargs.get("ssl") or issubclass(
            pool.connection_class, redis.SSLConnection
        ):
            named["ssl"] = True
        found = SentinelConnectionPool(pool.service_name, known, **named)  # type: ignore[no-untyped-call]
        return redis.asyncio.Redis.from_pool(found)
    kind = next(ours for theirs, ours in _CONNECTIONS.items() if _is(pool.connection_class, theirs))
    return redis.asyncio.Redis.from_pool(
        redis.asyncio.ConnectionPool(connection_class=kind, **given)
    )


def _is(kind: type[Any], wanted: type[Any]) -> bool:
    return issubclass(kind, wanted) and not (
        wanted is redis.Connection and issubclass(kind, redis.SSLConnection)
    )


def _kept(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: arguments[name] for name in _KEPT if arguments.get(name) is not None}
