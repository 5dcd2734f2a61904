"""The embedded server ends with its parent, however that dies, and keeps its data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from waiting import wait_until

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


def test_a_server_is_found_without_one_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    found = find_server()
    assert found is not None
    assert os.access(found, os.X_OK)
