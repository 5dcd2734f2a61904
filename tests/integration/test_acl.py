"""The example of separate users, loaded by a real server: each can do its work and no more."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flower_process import Flower
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client
from glyph_worker.errors import StoreDenied
from glyph_worker.local.server import find_server, free_port
from glyph_worker.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "ops" / "redis"


class Guarded:
    """A server with ops/redis/broker.conf and users.acl; only address and folders are its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        conf, acl = folder / "broker.conf", folder / "users.acl"
        acl.write_text((EXAMPLES / "users.acl").read_text())
        lines = (EXAMPLES / "broker.conf").read_text().splitlines()
        own = {"bind": "127.0.0.1", "port": self.port, "dir": folder, "aclfile": acl}
        kept = [line for line in lines if line.partition(" ")[0] not in own]
        conf.write_text("\n".join([*kept, *(f"{name} {value}" for name, value in own.items())]))
        program = find_server()
        assert program is not None
        self._process = subprocess.Popen([program, str(conf)], stdout=subprocess.DEVNULL)

    def url(self, user: str) -> str:
        return f"redis://{user}:change-me-{user}@127.0.0.1:{self.port}/0"

    def connect(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user))

    def answers(self) -> bool:
        with self.connect("worker") as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE_S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path)
    try:
        wait_until(guarded.answers, description="the guarded server answers")
        yield guarded
    finally:
        guarded.stop()


def test_workers_a_producer_and_flower_do_their_work_as_users_of_their_own(
    server: Guarded, tmp_path: Path, cache_url: str, tiny_checkpoint: Path, fleet_class: Any
) -> None:
    fleet = fleet_class.on(tmp_path, server.url("worker"), cache_url, tiny_checkpoint)
    flower = Flower(server.url("flower"))
    try:
        wait_until(flower.ready, description="flower answers")
        fleet.start("render", wait=False)
        fleet.start("answer")
        client = Client(Settings.load(environ={"GLYPH_BROKER_URL": server.url("producer")}))
        asked = client.submit("a lamp: 12 EUR\n" * 9, "what?", max_new_tokens=40)
        answer = client.wait(asked.id, timeout=PATIENCE_S)
        assert "".join(delta.text for delta in client.stream(asked.id)) == answer.text
        other = client.submit("a chair: 40 EUR\n" * 9, "what?", max_new_tokens=1_000, deadline_s=99)
        assert client.status(other.id).id == other.id
        client.cancel(other.id)
        wait_until(lambda: client.status(other.id).status.final, description="it is cancelled")
        wait_until(
            lambda: flower.tasks().get(asked.id, {}).get("state") == "SUCCESS",
            description="flower has seen the job",
        )
    finally:
        flower.stop()
        fleet.stop()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("producer", ("RPOP", "glyph.render")),
        ("producer", ("BRPOP", "glyph.answer", "1")),
        ("producer", ("LRANGE", "glyph.render", "0", "-1")),
        ("producer", ("HVALS", "unacked")),
        ("producer", ("CONFIG", "SET", "maxmemory", "1")),
        ("producer", ("FLUSHALL",)),
        ("flower", ("HGETALL", "glyph:job:1")),
        ("flower", ("GET", "glyph:blob:1")),
        ("flower", ("BRPOP", "glyph.render", "1")),
        ("flower", ("LPUSH", "glyph.render", "x")),
        ("flower", ("FLUSHALL",)),
        ("worker", ("FLUSHALL",)),
        ("worker", ("ACL", "SETUSER", "worker", "allkeys")),
        ("worker", ("CONFIG", "SET", "maxmemory", "1")),
    ],
)
def test_what_a_user_does_not_need_is_refused(
    server: Guarded, user: str, command: tuple[str, ...]
) -> None:
    with server.connect(user) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command)


def test_a_wrong_password_and_the_default_user_are_refused(server: Guarded) -> None:
    for login in ("", "producer:wrong@"):
        url = f"redis://{login}127.0.0.1:{server.port}/0"
        client = Client(Settings.load(environ={"GLYPH_BROKER_URL": url}))
        with pytest.raises(StoreDenied):
            client.submit("text", "why?")
