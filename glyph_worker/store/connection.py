"""Connections to Redis, and the one place where its errors become ours."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.client import PubSub
from redis.exceptions import NoScriptError, WatchError
from redis.retry import Retry

from glyph_worker.errors import (
    GlyphError,
    StoreDenied,
    StoreFault,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
    TransientError,
)
from glyph_worker.store.url import RedisUrl, hidden

_DENIED = ("NOAUTH", "WRONGPASS", "NOPERM", "DENIED")
_CLUSTER = ("MOVED", "ASK", "CROSSSLOT")
_FULL = ("OOM", "MISCONF")
_READ_ONLY = ("READONLY", "NOREPLICAS")
_AWAY = ("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "UNBLOCKED", "IOERR",
         "NOGOODSLAVE", "EXECABORT")  # fmt: skip
_CODES = (*_DENIED, *_CLUSTER, *_FULL, *_READ_ONLY, *_AWAY)
_DENIALS = (redis.AuthenticationError, redis.exceptions.AuthenticationWrongNumberOfArgsError)
_TRANSLATED = (redis.ConnectionError, redis.TimeoutError, redis.ResponseError,
               redis.InvalidResponse, OSError)  # fmt: skip


class Errors:
    """Mixed into redis-py's clients: every command raises errors of our tree and no others.

    Two stay as they are, because redis-py itself answers them: a script that the server has
    forgotten, and a watched key that changed.
    """

    url = ""

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        with translated(self.url):
            return super().execute_command(*args, **kwargs)  # type: ignore[misc]


class Pipeline(Errors, redis.client.Pipeline):
    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with translated(self.url):
            return super().execute(raise_on_error)

    def immediate_execute_command(self, *args: Any, **kwargs: Any) -> Any:
        with translated(self.url):
            return super().immediate_execute_command(*args, **kwargs)  # type: ignore[no-untyped-call]


class Subscription(Errors, PubSub):
    def parse_response(self, *args: Any, **kwargs: Any) -> Any:
        with translated(self.url):
            return super().parse_response(*args, **kwargs)  # type: ignore[no-untyped-call]


class Server(Errors, redis.Redis):
    """redis-py's client. Raises StoreUnavailable, StoreFull, StoreDenied, StoreUnsuitable
    or StoreFault, and nothing of redis-py's own."""

    def __init__(self, url: str, pool: redis.ConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.url = url
        # Made for this client alone, so closed with it.
        self.auto_close_connection_pool = True

    def __str__(self) -> str:
        return f"Redis at {hidden(self.url)}"

    def get_string(self, name: str) -> bytes | None:
        """GET; None also where the name holds another type, which is none of ours."""
        try:
            return cast("bytes | None", self.get(name))
        except StoreFault as exc:
            if "WRONGTYPE" in str(exc):
                return None
            raise

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        pipe = Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.url = self.url
        return pipe

    def pubsub(self, **kwargs: Any) -> Subscription:
        channel = Subscription(self.connection_pool, **kwargs)
        channel.url = self.url
        return channel


def connect(url: str, *, timeout_s: float = 5.0, num_retries: int = 3) -> Server:
    """A lazy client for `url` (store/url.py says of which forms); nothing is sent yet.

    Raises InvalidSetting for a URL that is none.
    """
    pool = RedisUrl.parse(url).pool(
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=25,
        protocol=2,  # one shape of replies, whatever the library's default
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), num_retries),
    )
    return Server(url, pool)


def check_allowed(url: str, *, timeout_s: float = 2.0) -> None:
    """Ask once whether the server lets us in. One that is away, full or loading is no error here:
    that passes by itself.

    Raises InvalidSetting, StoreDenied or StoreUnsuitable.
    """
    with connect(url, timeout_s=timeout_s, num_retries=0) as client, suppress(TransientError):
        client.ping()


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn redis-py's errors into ours: StoreUnavailable and StoreFull (wait and come again),
    StoreDenied and StoreUnsuitable (the operator's to mend), StoreFault (anything else)."""
    try:
        yield
    except (NoScriptError, WatchError):
        raise
    except _TRANSLATED as exc:
        raise error_of(exc, url) from exc


def error_of(exc: Exception, url: str) -> GlyphError:
    """Our error for one of redis-py's. `url` is shown without its passwords."""
    server, text, code = f"Redis at {hidden(url)}", str(exc), code_of(exc)
    if code in _DENIED or isinstance(exc, _DENIALS):
        return StoreDenied(f"{server} refuses us: {text}; check user, password and ACL in the URL")
    if _untrusted(exc):
        return StoreDenied(
            f"{server} has a certificate that cannot be verified: {text}; "
            "check ssl_ca_certs and the name in the URL"
        )
    if "DB index" in text:
        return StoreUnsuitable(
            f"{server} has no such database: {text}; choose a lower one, or raise its `databases`"
        )
    if code in _CLUSTER:
        return StoreUnsuitable(
            f"{server} is a node of a Redis Cluster: {text}; give one server, or its Sentinels"
        )
    if "unknown command" in text.lower() or "unknown redis command" in text.lower():
        return StoreUnsuitable(f"{server} lacks a command: {text}; Redis 6.2 or later is needed")
    if code in _FULL or isinstance(exc, redis.exceptions.OutOfMemoryError):
        return StoreFull(
            f"{server} takes no writes: {text}; raise its maxmemory or free its disk; "
            "let a broker's finished jobs expire sooner, and a cache evict (allkeys-lru)"
        )
    if code in _READ_ONLY:
        return StoreUnavailable(
            f"{server} takes no writes: {text}; is it a replica, or has it lost its own?"
        )
    if code in _AWAY or isinstance(exc, redis.ConnectionError | redis.TimeoutError | OSError):
        return StoreUnavailable(
            f"{server} does not answer: {text}; is it running, and the URL right?"
        )
    return StoreFault(f"{server} answers what it should not: {text}")


def code_of(exc: Exception) -> str:
    """The word an error reply begins with, '' for none that we know.

    redis-py cuts some of them off and keeps them beside the text; its pipelines put words of
    their own in front, and Redis 6 does for what goes wrong in a script (`ERR Error running script
    (…): @user_script:3: -OOM command not allowed`).
    """
    beside = getattr(exc, "status_code", None)
    if beside in _CODES:
        return str(beside)
    words = str(exc).rpartition("caused error: ")[2].split()
    first, inside = words[:1], [word[1:] for word in words[1:] if word.startswith("-")]
    return next((word for word in first + inside if word in _CODES), "")


def _untrusted(exc: BaseException | None) -> bool:
    """Whether a failed look at the server's certificate is behind it."""
    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
