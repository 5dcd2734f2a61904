"""Real servers of every kind a URL can name: tcp, a socket, TLS, behind a Sentinel, a replica."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
import redis
from waiting import wait_until

from glyph_worker.local.server import find_server, free_port

PASSWORD = "s/e#c@r et"
QUOTED = "s%2Fe%23c%40r%20et"


@cache
def speaks_tls() -> bool:
    """Asked with a certificate and no key: a server that knows TLS misses the key, and ends."""
    asked = [str(find_server()), "--port", "0", "--tls-port", "1", "--tls-cert-file", "none"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
    return "tls-key-file" in done.stdout + done.stderr and shutil.which("openssl") is not None


def require_tls() -> None:
    if not speaks_tls():
        pytest.skip("this Redis server is built without TLS, or there is no openssl")


@contextmanager
def process(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(timeout=20)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


class Certificates:
    """An authority, and a certificate of its for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.cert, self.key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        ca_key, asked, said = folder / "ca.key", folder / "asked.pem", folder / "names"
        said.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        for command in (
            f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout {ca_key} "
            f"-out {self.ca}",
            f"req -newkey rsa:2048 -nodes -subj /CN=server -keyout {self.key} -out {asked}",
            f"x509 -req -in {asked} -CA {self.ca} -CAkey {ca_key} -CAcreateserial -days 2 "
            f"-extfile {said} -out {self.cert}",
        ):
            subprocess.run(["openssl", *command.split()], check=True, capture_output=True)

    @property
    def options(self) -> list[str | Path]:
        return ["--tls-cert-file", self.cert, "--tls-key-file", self.key,
                "--tls-ca-cert-file", self.ca, "--tls-auth-clients", "no"]  # fmt: skip


@contextmanager
def unix_server(folder: Path) -> Iterator[str]:
    """The URL of a server that listens on a socket and nowhere else, with a password."""
    socket = folder / "redis.sock"
    folder.mkdir(parents=True, exist_ok=True)
    with process(
        str(find_server()), "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "",
        "--requirepass", PASSWORD,
    ):  # fmt: skip
        client = redis.Redis(unix_socket_path=str(socket), password=PASSWORD)
        wait_until(lambda: answers(client), description="the server on a socket answers")
        client.close()
        yield f"unix://:{QUOTED}@{socket}?db=3"


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[str, Certificates]]:
    """The URL of a server that speaks TLS and nothing else, without options; its certificates."""
    require_tls()
    made, port = Certificates(folder / "tls"), free_port()
    with process(
        str(find_server()), "--port", "0", "--tls-port", str(port), *made.options,
        "--bind", "127.0.0.1", "--dir", folder, "--save", "",
    ):  # fmt: skip
        client = redis.Redis(port=port, ssl=True, ssl_ca_certs=str(made.ca))
        wait_until(lambda: answers(client), description="the server with TLS answers")
        client.close()
        yield f"rediss://127.0.0.1:{port}/2", made


class Watched:
    """A server, its replica and a Sentinel with a password of its own, on loopback.

    As `ops/docs/redis.md` asks for: a server that has lost its replica takes no writes.
    """

    MASTER = "mymaster"

    def __init__(self, folder: Path, stack: ExitStack, *, tls: bool) -> None:
        self._tls = Certificates(folder / "tls") if tls else None
        self.ports = [free_port(), free_port()]
        sentinel_port = free_port()
        port = "--tls-port" if tls else "--port"
        more: list[str | Path] = []
        if self._tls is not None:
            more = ["--port", "0", "--tls-replication", "yes", *self._tls.options]
        for number, own in enumerate(self.ports):
            home = folder / f"server-{number}"
            home.mkdir(parents=True)
            replica = ["--replicaof", f"127.0.0.1 {self.ports[0]}"] if number else []
            given = ["--bind", "127.0.0.1", "--dir", home, "--save", "", *replica, *more,
                     "--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1"]  # fmt: skip
            stack.enter_context(process(str(find_server()), port, str(own), *given))
        lines = [
            f"{port[2:]} {sentinel_port}", "bind 127.0.0.1", f"dir {folder}",
            f"sentinel monitor {self.MASTER} 127.0.0.1 {self.ports[0]} 1",
            f"sentinel down-after-milliseconds {self.MASTER} 500",
            f"sentinel failover-timeout {self.MASTER} 2000",
            "requirepass watcher",
        ]  # fmt: skip
        if self._tls is not None:
            pairs = zip(self._tls.options[::2], self._tls.options[1::2], strict=True)
            lines += ["port 0", "tls-replication yes"]
            lines += [f"{str(name)[2:]} {value}" for name, value in pairs]
        conf = folder / "sentinel.conf"
        conf.write_text("\n".join(lines) + "\n")
        stack.enter_context(process(str(find_server()), conf, "--sentinel"))
        self.sentinel = redis.Redis(port=sentinel_port, password="watcher", **self._client)
        options = "?sentinel_password=watcher"
        if self._tls is not None:
            options += f"&ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={self._tls.ca}"
        scheme = "sentinels" if tls else "sentinel"
        # The first of the two Sentinels is not there: the next one is asked.
        nobody = f"127.0.0.1:{free_port()}"
        self.url = f"{scheme}://{nobody},127.0.0.1:{sentinel_port}/{self.MASTER}/1{options}"
        wait_until(lambda: answers(self.sentinel), description="the Sentinel answers")
        # An older one asks every ten seconds, and demotes who was passed over eight seconds later.
        with contextlib.suppress(redis.ResponseError):
            periods = ("info-period", "200", "publish-period", "200")
            self.sentinel.execute_command("SENTINEL", "DEBUG", *periods)
        wait_until(self._knows_a_replica, description="the Sentinel knows server and replica")

    @property
    def _client(self) -> dict[str, object]:
        return {} if self._tls is None else {"ssl": True, "ssl_ca_certs": str(self._tls.ca)}

    def _knows_a_replica(self) -> bool:
        try:
            replicas = self.sentinel.sentinel_slaves(self.MASTER)
        except redis.RedisError:
            return False
        return any(row["master-link-status"] == "ok" for row in replicas)

    def master_port(self) -> int:
        return int(self.sentinel.sentinel_get_master_addr_by_name(self.MASTER)[1])

    def fail_over(self) -> None:
        """The replica takes over; returns when it has. The other one does not know it yet."""
        before = self.master_port()
        self.sentinel.execute_command("SENTINEL", "FAILOVER", self.MASTER)
        wait_until(lambda: self.master_port() != before, description="the replica is promoted")
        self._await_role(self.master_port(), b"master")

    def await_demoted(self) -> None:
        """The one that was passed over follows the other, and has forgotten what it did not say."""
        (passed_over,) = set(self.ports) - {self.master_port()}
        self._await_role(passed_over, b"slave")

    def _await_role(self, port: int, role: bytes) -> None:
        with redis.Redis(port=port, **self._client) as server:
            wait_until(lambda: server.role()[0] == role, description="it knows its role")

    def close(self) -> None:
        self.sentinel.close()


@contextmanager
def watched_servers(folder: Path, *, tls: bool) -> Iterator[Watched]:
    if tls:
        require_tls()
    with ExitStack() as stack:
        made = Watched(folder, stack, tls=tls)
        stack.callback(made.close)
        yield made
