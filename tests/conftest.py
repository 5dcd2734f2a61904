"""A real Redis-compatible server per session, a fresh database per test, and no sleeps."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import unclosed_sockets
from hypothesis import HealthCheck, settings

from glyph_worker.local.server import EmbeddedServer

unclosed_sockets.watch()

# No property depends on how fast the machine is today.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


class RedisServer:
    """The server under test: killed and restarted at will, on one port and one folder."""

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self._embedded = EmbeddedServer(folder, options=options)
        self.start()

    @property
    def port(self) -> int:
        return self._embedded.port

    @property
    def pid(self) -> int:
        return self._embedded.pid

    def url(self, db: int = 0) -> str:
        return self._embedded.url(db)

    def start(self) -> None:
        self._embedded.start()

    def kill(self) -> None:
        os.kill(self._embedded.pid, signal.SIGKILL)
        self._embedded.stop()

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        self._embedded.stop()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that nobody can read are numbered: an archive among them holds the time of its making,
    and every process that runs a share of the tests must give a test the same name."""
    if isinstance(val, bytes) and (len(val) > 80 or not val.isascii() or b"\0" in val):
        return argname
    return None


@pytest.hookimpl(trylast=True)  # after the shuffle, which stays among the slow and among the others
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: where processes share the files out, none is left to the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def _garbage_of_its_own() -> Iterator[None]:
    """What a file leaves open is said of that file, not of whatever runs at the next collection."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Shared by all tests that do not kill it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """For tests that kill, fill or slow their server."""
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


# Keys that may outlive their test without a time to live: Celery's own, our sets of live jobs and
# of the documents they need, and who waits for a turn: what waits must not be forgotten.
LASTING = ("_kombu.", "unacked", "celery", "glyph.", ":active", ":needed", ":ring:", ":pending:")


def leaked_keys(client: redis.Redis) -> list[bytes]:
    """Keys that nothing will ever remove: no time to live, and no unfinished job behind them."""
    return [
        key
        for key in client.scan_iter()
        if client.ttl(key) == -1
        and not any(part in key.decode() for part in LASTING)
        and not _needed(client, key)
    ]


def _needed(client: redis.Redis, key: bytes) -> bool:
    """The record of a job that is not final, or a document that such a job needs."""
    root, _, name = key.decode().partition(":")
    kind, _, rest = name.partition(":")
    if kind == "job":
        return client.hget(key, "status") in (b"queued", b"running")
    if kind == "blob":
        return bool(client.zlexcount(f"{root}:needed", f"[{rest}/", f"({rest}0"))
    return False


@pytest.fixture
def broker_url(redis_server: RedisServer) -> Iterator[str]:
    """An empty database; after the test every key left has a TTL or is on the short list."""
    url = redis_server.url(1)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        leaked = leaked_keys(client)
        client.flushdb()
    assert not leaked, f"keys without a time to live: {leaked}"


@pytest.fixture
def cache_url(redis_server: RedisServer) -> Iterator[str]:
    url = redis_server.url(2)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        leaked = [key for key in client.scan_iter() if client.ttl(key) == -1]
        client.flushdb()
    assert not leaked, f"keys without a time to live: {leaked}"
