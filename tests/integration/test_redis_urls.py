"""Every form of URL, by real servers: client, workers' transport, doctor; and a whole fleet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from redis_kinds import tls_server, unix_server, watched_servers
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client
from glyph_worker.doctor import servers
from glyph_worker.errors import ConfigurationError, StoreDenied, StoreUnavailable, StoreUnsuitable
from glyph_worker.job import Job
from glyph_worker.queue.app import make_app
from glyph_worker.queue.names import RENDER_QUEUE
from glyph_worker.settings import Settings
from glyph_worker.store.connection import check_allowed, connect


@contextmanager
def _tcp(folder: Path, redis_server: Any) -> Iterator[str]:
    yield redis_server.url(5).replace("/5", "/?db=5&socket_timeout=4")


@contextmanager
def _unix(folder: Path, _: Any) -> Iterator[str]:
    with unix_server(folder) as url:
        yield url


@contextmanager
def _tls(folder: Path, _: Any) -> Iterator[str]:
    with tls_server(folder) as (url, made):
        yield f"{url}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={made.ca}"


@contextmanager
def _sentinel(folder: Path, _: Any) -> Iterator[str]:
    with watched_servers(folder, tls=False) as watched:
        yield watched.url


@contextmanager
def _sentinel_over_tls(folder: Path, _: Any) -> Iterator[str]:
    with watched_servers(folder, tls=True) as watched:
        yield watched.url


KINDS = [_tcp, _unix, _tls, _sentinel, _sentinel_over_tls]
Kind = Callable[[Path, Any], AbstractContextManager[str]]


def _settings(url: str) -> Settings:
    return Settings.load(environ={"GLYPH_BROKER_URL": url})


def _taken(app: Any) -> list[str]:
    """Ids of the messages that a worker would get, acknowledged."""
    taken: list[str] = []

    def take(message: Any) -> None:
        taken.append(message.headers["id"])
        message.ack()

    with app.connection_for_read() as connection:
        queue = app.amqp.queues[RENDER_QUEUE]
        with connection.Consumer([queue], on_message=take, accept=["msgpack"]):

            def drained() -> bool:
                try:
                    connection.drain_events(timeout=0.2)
                except TimeoutError:
                    return bool(taken)
                return False

            wait_until(drained, description="a message arrives, and then no other")
    return taken


@pytest.mark.parametrize("kind", KINDS)
def test_client_and_workers_read_the_same_url(
    kind: Kind, tmp_path: Path, redis_server: Any
) -> None:
    with kind(tmp_path / "server", redis_server) as url:
        settings = _settings(url)
        with connect(url) as client:
            client.flushdb()
        job = Client(settings).submit("a lamp: 12 EUR", "what does it cost?")
        assert _taken(make_app(settings)) == [job.id]
        (broker, *_) = servers.redis(settings)
        assert (broker.what, broker.level) == ("broker", "ok")


_LENGTHS = """
import asyncio, json, sys
from flower.utils.broker import Broker
from glyph_worker.queue.flower_broker import flower_options, flower_url
from glyph_worker.store.url import RedisUrl
server = RedisUrl.parse(sys.argv[1])
options = flower_options(server)
given = {"global_keyprefix": "glyph:"} | options.get("broker_transport_options", {})
broker = Broker(
    flower_url(server), broker_options=given, broker_use_ssl=options.get("broker_use_ssl")
)
print(json.dumps(asyncio.run(broker.queues(["glyph.render"]))))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_flower_counts_the_same_queues_over_a_client_of_its_own(
    kind: Kind, tmp_path: Path, redis_server: Any
) -> None:
    with kind(tmp_path / "server", redis_server) as url:
        # It knows database 0 only where there is a socket or a Sentinel, and the first of those.
        url = url.replace("?db=3", "?db=0").replace("mymaster/1", "mymaster/0")
        if url.startswith("sentinel"):
            scheme, _, places = url.partition("://")
            url = f"{scheme}://{places.partition(',')[2]}"
        with connect(url) as client:
            client.flushdb()
        Client(_settings(url)).submit("a lamp: 12 EUR", "what does it cost?")
        done = subprocess.run(
            [sys.executable, "-c", _LENGTHS, url], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == [{"name": "glyph.render", "messages": 1}]


def test_a_certificate_that_nobody_vouches_for_is_the_operators_to_mend(tmp_path: Path) -> None:
    with tls_server(tmp_path) as (url, made):
        with pytest.raises(StoreDenied, match="certificate"):
            check_allowed(url)
        check_allowed(f"{url}?ssl_ca_certs={made.ca}")
        check_allowed(f"{url}?ssl_cert_reqs=none&ssl_check_hostname=false")


def test_a_database_that_is_not_there_is_the_operators_to_mend(redis_server: Any) -> None:
    url = redis_server.url(99)
    with pytest.raises(StoreUnsuitable, match="no such database"):
        check_allowed(url)
    with pytest.raises(StoreUnsuitable):
        Client(_settings(url)).submit("text", "why?")
    for kind in ("render", "answer"):
        done = subprocess.run(
            [sys.executable, "-m", "glyph_worker.cli", "worker", kind],
            env=os.environ | {"GLYPH_BROKER_URL": url}, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 78, done.stderr
        assert "error[store_unsuitable]" in done.stderr


def test_a_url_that_is_none_is_refused_everywhere_alike() -> None:
    settings = _settings("redis://h?colour=red")
    for refused in (lambda: Client(settings).status("x"), lambda: make_app(settings)):
        with pytest.raises(ConfigurationError, match="'colour' is no option"):
            refused()


def test_a_sentinel_that_is_not_there_is_passed_over_at_once(
    tmp_path: Path, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two: it is not tried again before the next one is asked."""

    def slept(seconds: float) -> None:
        pytest.fail(f"{seconds:.1f} s were lost before the next Sentinel")

    with _sentinel(tmp_path / "server", redis_server) as url, connect(url) as client:
        monkeypatch.setattr("redis.retry.sleep", slept)
        assert client.ping()


@pytest.mark.parametrize("kind", [_unix, _sentinel_over_tls])
def test_a_fleet_answers_over_it(
    kind: Kind, tmp_path: Path, redis_server: Any, tiny_checkpoint: Path, fleet_class: Any
) -> None:
    with kind(tmp_path / "server", redis_server) as url:
        fleet = fleet_class.on(tmp_path, url, url, tiny_checkpoint)
        try:
            fleet.start("render", wait=False)
            fleet.start("answer")
            job = fleet.client.submit("a lamp: 12 EUR\n" * 9, "what?", max_new_tokens=8)
            assert fleet.client.wait(job.id, timeout=PATIENCE_S).receipt.pages_rendered == 1
        finally:
            fleet.stop()


def test_jobs_go_on_at_the_server_that_took_over(
    tmp_path: Path, tiny_checkpoint: Path, fleet_class: Any
) -> None:
    with watched_servers(tmp_path / "servers", tls=False) as watched:
        fleet = fleet_class.on(tmp_path, watched.url, watched.url, tiny_checkpoint)
        try:
            fleet.start("render", wait=False)
            fleet.start("answer")
            ask = fleet.client.submit
            first = ask("a lamp: 12 EUR\n" * 9, "what?", max_new_tokens=8)
            fleet.client.wait(first.id, timeout=PATIENCE_S)
            watched.fail_over()

            def accepted() -> Job | None:
                """Refused by who was passed over and has no replica any more, not lost with it."""
                with suppress(StoreUnavailable):
                    return ask("a chair: 40 EUR\n" * 9, "what?", max_new_tokens=8)
                return None

            second = wait_until(accepted, description="the one that took over has a replica")
            watched.await_demoted()
            fleet.client.wait(second.id, timeout=PATIENCE_S)
            assert all(process.poll() is None for process in fleet.processes), fleet.logs()
        finally:
            fleet.stop()
