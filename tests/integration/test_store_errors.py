"""Servers that answer with an error: what a client is told, by real servers in each state."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis_kinds import process
from waiting import wait_until

from glyph_worker.client import Client
from glyph_worker.errors import (
    GlyphError,
    StoreDenied,
    StoreFault,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
)
from glyph_worker.local.server import find_server, free_port
from glyph_worker.settings import Settings
from glyph_worker.store.connection import Server, code_of, connect, error_of
from glyph_worker.store.streams import Cursor

Break = Callable[[redis.Redis], None]


def _replica(server: redis.Redis) -> None:
    """READONLY: a replica, of a server that is not there."""
    server.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))


def _master_down(server: redis.Redis) -> None:
    """MASTERDOWN: a replica that answers nothing while its master is away."""
    server.config_set("replica-serve-stale-data", "no")
    _replica(server)


def _without_replicas(server: redis.Redis) -> None:
    """NOREPLICAS: writes wait for a replica that is not there."""
    server.config_set("min-replicas-to-write", 1)


def _full(server: redis.Redis) -> None:
    """OOM."""
    server.config_set("maxmemory-policy", "noeviction")
    server.config_set("maxmemory", 1)


def _no_rights(server: redis.Redis) -> None:
    """NOPERM."""
    server.execute_command("ACL", "SETUSER", "default", "-@write", "-@scripting")


def _no_login(server: redis.Redis) -> None:
    """NOAUTH, for whoever comes from now on."""
    server.config_set("requirepass", "secret")


STATES: list[tuple[Break, type[GlyphError]]] = [
    (_replica, StoreUnavailable),
    (_master_down, StoreUnavailable),
    (_without_replicas, StoreUnavailable),
    (_full, StoreFull),
    (_no_rights, StoreDenied),
    (_no_login, StoreDenied),
]

VERBS: dict[str, Callable[[Client, str], Any]] = {
    "submit": lambda client, _: client.submit("another text", "why?"),
    "cancel": lambda client, job: client.cancel(job),
    "status": lambda client, job: client.status(job),
    "status_many": lambda client, job: client.status_many([job]),
    "result": lambda client, job: client.result(job),
    "stream": lambda client, job: client.next_deltas(job, Cursor()),
}
WRITES = ("submit", "cancel")
REFUSES_READS = (_master_down, _no_login)


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    number = free_port()
    options = ["--port", str(number), "--bind", "127.0.0.1", "--dir", tmp_path, "--save", ""]
    with process(str(find_server()), *options, "--enable-debug-command", "local"):
        with connect(f"redis://127.0.0.1:{number}") as client:

            def up() -> bool:
                with contextlib.suppress(StoreUnavailable):
                    return bool(client.ping())
                return False

            wait_until(up, description="the server answers")
        yield number


def _client(port: int, login: str = "") -> Client:
    url = f"redis://{login}127.0.0.1:{port}/0?socket_timeout=2"
    return Client(Settings.load(environ={"GLYPH_BROKER_URL": url}))


@pytest.mark.parametrize(("broken", "expected"), STATES)
def test_every_verb_of_the_client_raises_our_errors(
    port: int, broken: Break, expected: type[GlyphError]
) -> None:
    job = _client(port).submit("a lamp: 12 EUR", "what does it cost?").id
    with redis.Redis(port=port) as admin:
        broken(admin)
    for name, verb in VERBS.items():
        if name in WRITES or broken in REFUSES_READS:
            with pytest.raises(expected) as raised:
                verb(_client(port), job)
            assert type(raised.value) is expected
            assert f"127.0.0.1:{port}" in str(raised.value)
        elif expected is not StoreDenied:
            verb(_client(port), job)  # reads go on


def test_a_server_that_loads_its_data_is_one_that_is_away(port: int, tmp_path: Path) -> None:
    with redis.Redis(port=port) as admin:
        pipe = admin.pipeline(transaction=False)
        for number in range(60_000):
            pipe.set(f"filler:{number}", "x")
        pipe.execute()
        # A key takes a millisecond to load from now on: a minute in all.
        admin.config_set("key-load-delay", 1_000)
        admin.config_set("loading-process-events-interval-bytes", 1_024)
        reload = threading.Thread(target=_quietly, args=(admin, "DEBUG", "RELOAD"))
        reload.start()
        try:
            with connect(f"redis://127.0.0.1:{port}", num_retries=0) as server:
                seen: list[GlyphError] = []

                def loading() -> bool:
                    try:
                        server.get("filler:1")
                    except GlyphError as exc:
                        seen.append(exc)
                    return any("loading" in str(exc).lower() for exc in seen)

                wait_until(loading, description="the server says that it is loading")
            assert {type(exc) for exc in seen} == {StoreUnavailable}
        finally:
            with redis.Redis(port=port) as other:
                other.config_set("key-load-delay", 0)
            reload.join(timeout=60)


def test_a_server_busy_with_a_script_is_one_that_is_away(port: int) -> None:
    with redis.Redis(port=port) as admin:
        admin.config_set("busy-reply-threshold", 50)
        endless = threading.Thread(target=_quietly, args=(admin, "EVAL", "while true do end", "0"))
        endless.start()
        try:
            with connect(f"redis://127.0.0.1:{port}", num_retries=0) as server:

                def busy() -> bool:
                    try:
                        server.get("x")
                    except StoreUnavailable as exc:
                        return "busy" in str(exc).lower()
                    return False

                wait_until(busy, description="the server says that it is busy")
        finally:
            with redis.Redis(port=port) as other:
                other.execute_command("SCRIPT", "KILL")
            endless.join(timeout=20)


def _quietly(client: redis.Redis, *command: str) -> None:
    with contextlib.suppress(redis.RedisError):
        client.execute_command(*command)


def test_a_wrong_password_and_a_login_that_nobody_asked_for_are_denied(port: int) -> None:
    # Redis takes any password for its default user while that has none.
    with pytest.raises(StoreDenied):
        _client(port, "someone:secret@").submit("text", "why?")
    with redis.Redis(port=port) as admin:
        _no_login(admin)
    with pytest.raises(StoreDenied):
        _client(port, ":wrong@").submit("text", "why?")
    _client(port, ":secret@").submit("text", "why?")


def test_scripts_pipelines_and_subscriptions_are_covered_too(port: int) -> None:
    with redis.Redis(port=port) as admin:
        _replica(admin)
    with connect(f"redis://127.0.0.1:{port}") as server:
        script = server.register_script("return redis.call('SET', KEYS[1], '1')")
        writes: list[Callable[[], Any]] = [
            lambda: script(keys=["k"]),
            lambda: server.eval("return redis.call('SET', KEYS[1], '1')", 1, "k"),
            lambda: server.pipeline(transaction=False).get("k").set("k", "1").execute(),
            lambda: server.pipeline().set("k", "1").execute(),
            lambda: server.transaction(lambda pipe: pipe.set("k", "1"), "k"),
            lambda: server.lock("k", timeout=1).acquire(blocking=False),
        ]
        for write in writes:
            with pytest.raises(StoreUnavailable, match="takes no writes"):
                write()
    with redis.Redis(port=port) as admin:
        admin.execute_command("ACL", "SETUSER", "default", "resetchannels")
    with connect(f"redis://127.0.0.1:{port}") as server, server.pubsub() as channel:
        channel.subscribe("news")
        with pytest.raises(StoreDenied):
            channel.get_message(timeout=5)


def test_a_full_server_changes_nothing_of_a_script_that_it_refuses(port: int) -> None:
    """All or nothing: a job is never half written."""
    client = _client(port)
    with redis.Redis(port=port) as admin:
        _full(admin)
        with pytest.raises(StoreFull):
            client.submit("text", "why?")
        assert not [key for key in admin.scan_iter() if not key.startswith(b"glyph:blob")]
        admin.config_set("maxmemory", 0)
    assert client.status(client.submit("text", "why?").id).position == 0


@pytest.mark.parametrize(
    ("reply", "code", "expected"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", "MISCONF", StoreFull),
        ("ERR Error running script (call to f_1): @user_script:3: @user_script: 3: "
         "-OOM command not allowed when used memory > 'maxmemory'.", "OOM", StoreFull),
        ("ERR Error running script (call to f_1): @user_script:3: -READONLY You can't write",
         "READONLY", StoreUnavailable),
        ("Command # 2 (SET OOM -OOM) of pipeline caused error: READONLY no", "READONLY",
         StoreUnavailable),
        ("UNBLOCKED force unblock from blocking operation, instance state changed", "UNBLOCKED",
         StoreUnavailable),
        ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN", StoreUnavailable),
        ("CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT", StoreUnsuitable),
        ("ERR unknown command 'LMOVE'", "", StoreUnsuitable),
        ("ERR DB index is out of range", "", StoreUnsuitable),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "", StoreFault),
        ("ERR value of the word OOM is not an integer", "", StoreFault),
    ],
)  # fmt: skip
def test_a_reply_is_read_by_its_code(reply: str, code: str, expected: type[GlyphError]) -> None:
    exc = redis.ResponseError(reply)
    assert code_of(exc) == code
    assert type(error_of(exc, "redis://:secret@h")) is expected
    assert "secret" not in str(error_of(exc, "redis://:secret@h"))


def test_our_client_leaves_what_redis_py_answers_itself(port: int) -> None:
    with connect(f"redis://127.0.0.1:{port}") as server:
        assert isinstance(server, Server)
        script = server.register_script("return 7")
        assert script() == 7
        server.script_flush()
        assert script() == 7, "a forgotten script is loaded again"
        server.set("k", "0")
        turns = []

        def change(pipe: Any) -> None:
            turns.append(pipe.get("k"))
            if len(turns) == 1:
                server.set("k", "other")
            pipe.multi()
            pipe.set("k", "mine")

        server.transaction(change, "k")
        assert turns == [b"0", b"other"]
