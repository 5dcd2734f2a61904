"""Workers, gateway and Flower beside a broker that answers with errors, and one that refuses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from flower_process import Flower
from gateway_process import GatewayProcess
from waiting import PATIENCE_S, wait_until

from glyph_worker.local.server import free_port
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.workers import WorkerStore

pytestmark = pytest.mark.slow

TEXT = "a lamp: 12 EUR\n" * 9
EX_CONFIG = 78
FELT = re.compile("broker.away|presence.missed")

Change = Callable[[redis.Redis], Any]
STATES: dict[str, tuple[Change, Change]] = {
    "read-only": (
        lambda admin: admin.execute_command("REPLICAOF", "127.0.0.1", str(free_port())),
        lambda admin: admin.execute_command("REPLICAOF", "NO", "ONE"),
    ),
    "without its replicas": (
        lambda admin: admin.config_set("min-replicas-to-write", 1),
        lambda admin: admin.config_set("min-replicas-to-write", 0),
    ),
    "full": (
        lambda admin: admin.config_set("maxmemory", 1),
        lambda admin: admin.config_set("maxmemory", 0),
    ),
}


@pytest.fixture
def fleet(tmp_path: Path, own_redis: Any, tiny_checkpoint: Path, fleet_class: Any) -> Iterator[Any]:
    """On a server of its own, one of each kind of worker."""
    made = fleet_class.on(tmp_path, own_redis.url(0), own_redis.url(1), tiny_checkpoint)
    made.environ["GLYPH_QUEUE_DRAIN_S"] = "3"
    yield made
    made.stop()


def test_workers_outlive_every_state_and_take_up_work_by_themselves(
    fleet: Any, own_redis: Any
) -> None:
    fleet.start("render", wait=False)
    fleet.start("answer")
    for process in fleet.processes:
        fleet.wait_ready(process)
    client = fleet.client
    with redis.Redis(port=own_redis.port) as admin:
        for name, (break_it, mend_it) in STATES.items():
            before = client.submit(f"{name}\n{TEXT}", "what?", max_new_tokens=200)
            logs = {path: len(path.read_text()) for path in fleet.folder.glob("*.log")}
            break_it(admin)
            for path, read in logs.items():
                wait_until(
                    lambda path=path, read=read: len(FELT.findall(path.read_text()[read:])) >= 2,
                    description=f"{path.name} feels a broker that is {name}",
                )
            mend_it(admin)
            client.wait(before.id, timeout=PATIENCE_S)
            after = client.submit(f"after {name}\n{TEXT}", "what?", max_new_tokens=8)
            client.wait(after.id, timeout=PATIENCE_S)
            ended = [process.poll() for process in fleet.processes]
            assert ended == [None, None], fleet.logs()


@pytest.mark.parametrize("kind", ["render", "answer"])
def test_a_worker_told_to_stop_ends_although_the_broker_refuses_and_is_announced_no_longer(
    fleet: Any, own_redis: Any, kind: str
) -> None:
    break_it, mend_it = STATES["read-only"]
    for each in ("render", "answer"):
        fleet.start(each, wait=False)
    for process in fleet.processes:
        fleet.wait_ready(process)
    worker = fleet.processes[0 if kind == "render" else 1]
    jobs = [
        fleet.client.submit(f"{n} " + "word " * 30_000, "what?", max_new_tokens=1_000)
        for n in range(3)
    ]
    wait_until(
        lambda: any(fleet.client.status(job.id).attempt for job in jobs), description="one runs"
    )
    with redis.Redis(port=own_redis.port) as admin:
        break_it(admin)
        worker.send_signal(signal.SIGTERM)
        # The broker stays as it is: who waited for it would never end.
        assert worker.wait(timeout=PATIENCE_S) in (0, 75), fleet.logs()
        mend_it(admin)
    url = own_redis.url(0)
    with connect(url) as client:
        store = WorkerStore(client, Keys("glyph"))
        wait_until(
            lambda: worker.pid not in {info.pid for info in store.living()},
            description="it is announced no longer",
        )


_HANGS = """
import time
from celery import signals
from glyph_worker.queue import prefork
from glyph_worker.settings import Settings
from glyph_worker.telemetry import configure_logging
from glyph_worker.worker.lifecycle import run_worker

def hang(self):
    print("the pool hangs", flush=True)
    time.sleep(3600)

def fail(sender=None, **_):
    def burst():
        raise RuntimeError("unforeseen")
    sender.timer.call_after(2.0, lambda: sender.hub.call_soon(burst))

prefork.TaskPool.on_stop = hang
signals.worker_ready.connect(fail, weak=False)
settings = Settings.load()
configure_logging(settings.log_level)
raise SystemExit(run_worker(settings, "render", concurrency=1))
"""


def test_a_worker_whose_pool_never_ends_is_over_within_its_drain_time(
    broker_url: str, tmp_path: Path
) -> None:
    """As one that read a pipe for seven minutes and a half, announced as living all the while."""
    environ = {"GLYPH_BROKER_URL": broker_url, "GLYPH_QUEUE_DRAIN_S": "3", "OMP_NUM_THREADS": "1"}
    log = tmp_path / "worker.log"
    with log.open("wb") as out, connect(broker_url) as client:
        worker = subprocess.Popen(
            [sys.executable, "-c", _HANGS], env=os.environ | environ,
            stdin=subprocess.PIPE, stdout=out, stderr=out,
        )  # fmt: skip
        store = WorkerStore(client, Keys("glyph"))

        def announced() -> bool:
            assert worker.poll() is None, log.read_text()
            return worker.pid in {info.pid for info in store.living()}

        wait_until(announced, description="it is announced")
        (child,) = psutil.Process(worker.pid).children()
        hung = lambda: "the pool hangs" in log.read_text()  # noqa: E731
        wait_until(hung, description="its pool hangs")
        wait_until(
            lambda: worker.pid not in {info.pid for info in store.living()},
            description="it is announced no longer",
        )
        assert worker.wait(timeout=PATIENCE_S) == 1, log.read_text()
        assert "worker.end_gave_up" in log.read_text()
        wait_until(lambda: not child.is_running(), description="its children end with it")
        assert worker.stdin is not None
        worker.stdin.close()


def _lock(port: int) -> None:
    """From now on with a password, and everybody who is connected is sent away."""
    with redis.Redis(port=port) as admin:
        admin.config_set("requirepass", "secret")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def test_a_broker_that_refuses_from_now_on_ends_all_that_would_ask_it_for_ever(
    fleet: Any, own_redis: Any, tmp_path: Path
) -> None:
    fleet.start("render", wait=False)
    fleet.start("answer", wait=False)
    gateway = GatewayProcess(tmp_path, fleet.environ)
    flower = Flower(own_redis.url(0))
    try:
        wait_until(flower.answers, description="flower answers")
        for process in fleet.processes:
            fleet.wait_ready(process)
        _lock(own_redis.port)
        for process in (*fleet.processes, gateway.process, flower.process):
            assert process.wait(timeout=PATIENCE_S) == EX_CONFIG, fleet.logs()
        assert "store_denied" in gateway.log
    finally:
        for other in (gateway.process, flower.process):
            if other.poll() is None:
                other.kill()
                other.wait()
        with redis.Redis(port=own_redis.port, password="secret") as admin:
            admin.config_set("requirepass", "")


COMMANDS = {
    "client": ["glyph_worker.cli", "submit", "FILE", "--question", "why?"],
    "render": ["glyph_worker.cli", "worker", "render"],
    "answer": ["glyph_worker.cli", "worker", "answer"],
    "gateway": ["glyph_worker.cli", "gateway", "--port", "0"],
    "flower": ["celery", "-A", "glyph_worker.queue.flower", "flower", "--address=127.0.0.1"],
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("server", ["broker", "cache"])
def test_a_wrong_password_ends_each_at_its_start_with_78(
    own_redis: Any, redis_server: Any, tmp_path: Path, name: str, server: str
) -> None:
    if server == "cache" and name in ("client", "gateway", "flower"):
        pytest.skip("it works without the cache server")
    _lock(own_redis.port)
    wrong = f"redis://:wrong@127.0.0.1:{own_redis.port}/0"
    urls = {"broker": redis_server.url(8), "cache": redis_server.url(9)} | {server: wrong}
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    command = [str(file) if part == "FILE" else part for part in COMMANDS[name]]
    if name == "flower":
        command.append(f"--port={free_port()}")
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            env=os.environ
            | {"GLYPH_BROKER_URL": urls["broker"], "GLYPH_CACHE_URL": urls["cache"]}
            | {"FLOWER_BASIC_AUTH": "a:b"},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    finally:
        with redis.Redis(port=own_redis.port, password="secret") as admin:
            admin.config_set("requirepass", "")
    assert done.returncode == EX_CONFIG, done.stderr
    assert "error[store_denied]" in done.stderr
    assert "wrong@" not in done.stderr


def test_a_cache_that_refuses_ends_the_worker_and_no_job(
    fleet: Any, own_redis: Any, redis_server: Any, broker_url: str
) -> None:
    """Its jobs go back: they are not to blame, and are answered when somebody is let in."""
    fleet.environ["GLYPH_BROKER_URL"] = broker_url
    other = type(fleet)(fleet.folder, fleet.environ)
    try:
        renders = other.start("render", wait=False)
        other.start("answer", wait=False)
        for process in other.processes:
            other.wait_ready(process)
        _lock(own_redis.port)
        job = other.client.submit(TEXT, "what?", max_new_tokens=8)
        assert renders.wait(timeout=PATIENCE_S) == EX_CONFIG, other.logs()
        assert not other.client.status(job.id).status.final
        with redis.Redis(port=own_redis.port, password="secret") as admin:
            admin.config_set("requirepass", "")
        other.revive()
        wait_until(
            lambda: other.revive() or other.client.result(job.id) is not None,
            description="the job is answered",
        )
    finally:
        other.stop()
