"""Connections to Redis, and the one place where its errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from glyph_worker.errors import InvalidSetting, StoreDenied, StoreFull, StoreUnavailable


def connect(url: str, *, timeout_s: float = 5.0, num_retries: int = 3) -> redis.Redis:
    """A lazy client for `url` (redis://, rediss://, unix://); nothing is sent yet.

    Raises InvalidSetting for a URL that is none.
    """
    try:
        return redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=25,
            protocol=2,  # one shape of replies, whatever the library's default
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), num_retries),
        )
    except ValueError as exc:
        raise InvalidSetting(f"{hidden(url)} is no Redis URL: {exc}") from exc


def hidden(url: str) -> str:
    """The URL without its password, for messages and logs."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(
        netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"
    ).geturl()


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn redis-py's errors into StoreUnavailable, StoreFull or StoreDenied."""
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as exc:
        raise StoreDenied(
            f"Redis at {hidden(url)} refuses us: {exc}; check user, password and ACL in the URL"
        ) from exc
    except (redis.ConnectionError, redis.TimeoutError, OSError) as exc:
        raise StoreUnavailable(
            f"Redis at {hidden(url)} does not answer: {exc}; is it running, and the URL right?"
        ) from exc
    except redis.ResponseError as exc:
        text = str(exc)
        if isinstance(exc, redis.exceptions.OutOfMemoryError) or text.startswith("MISCONF"):
            raise StoreFull(
                f"Redis at {hidden(url)} takes no writes: {text}; "
                "raise its maxmemory, free its disk, or let finished jobs expire sooner"
            ) from exc
        if text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
            raise StoreDenied(f"Redis at {hidden(url)} refuses us: {text}") from exc
        raise
