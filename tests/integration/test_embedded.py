"""The embedded server ends with its parent, however that dies, and keeps its data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import redis
from waiting import wait_until

from glyph_worker.local.folder_lock import FolderInUse, FolderLock
from glyph_worker.local.server import EmbeddedServer, find_server

_PARENT = """
import signal, sys, time
from pathlib import Path
# A test run in the background may have handed us an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
from glyph_worker.local.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_when_its_parent_dies(tmp_path: Path, signum: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    os.kill(parent.pid, signum)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not psutil.pid_exists(pid), description="the server is gone")


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url()) as client:
        client.set("kept", "yes")
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url()) as client:
        assert client.get("kept") == b"yes"


def test_a_folder_that_our_own_dead_server_holds_still_is_waited_for(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.take()
    # What was started beside a server that was killed ends a moment after it.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock.descriptor,)) as holder:
        assert holder.stdin is not None
        lock.release()
        threading.Timer(0.3, holder.stdin.close).start()
        lock.take()
    lock.release()


def test_a_folder_in_use_is_refused_with_the_pid_and_a_way_out(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    parent.stdout.readline()
    try:
        with pytest.raises(FolderInUse, match=f"process {parent.pid}.*GLYPH_DATA_DIR") as caught:
            EmbeddedServer(tmp_path).start()
        assert caught.value.exit_code == 78
        # The folder is another's before anything is written to it.
        assert (tmp_path / "owner.pid").read_text() == f"{parent.pid}\n"
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    # Killed, it leaves a server that is about to end: the next owner waits for that.
    with EmbeddedServer(tmp_path) as server:
        assert psutil.pid_exists(server.pid)
    with EmbeddedServer(tmp_path):
        pass


def test_a_second_up_on_one_folder_ends_with_its_own_error(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GLYPH_")}
    with EmbeddedServer(tmp_path / "redis"):
        second = subprocess.run(
            [sys.executable, "-m", "glyph_worker.cli", "up"],
            env=environ | {"GLYPH_DATA_DIR": str(tmp_path)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert second.returncode == 78, second.stderr
    assert "folder_in_use" in second.stderr
    assert str(os.getpid()) in second.stderr


def test_start_returns_when_everything_is_loaded(tmp_path: Path) -> None:
    keys = 5_000
    with EmbeddedServer(tmp_path) as server, redis.Redis.from_url(server.url()) as client:
        pipe = client.pipeline(transaction=False)
        for number in range(keys):
            pipe.set(f"key {number}", "x")
        pipe.execute()
    # A millisecond for each key: longer than the silence that start bears.
    slow = EmbeddedServer(tmp_path, options=("--key-load-delay", "1000"))
    slow.start(timeout_s=4.0)
    try:
        with redis.Redis.from_url(slow.url()) as client:
            assert client.dbsize() == keys
            client.set("written", "at once")
    finally:
        slow.stop()


def test_a_server_is_found_without_one_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    found = find_server()
    assert found is not None
    assert os.access(found, os.X_OK)
