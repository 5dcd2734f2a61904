"""Liveness is a file of the worker's own: fresh, of a process that exists, and never Redis."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import wait_until

from glyph_worker.cli import app as cli
from glyph_worker.worker import heartbeat
from glyph_worker.worker.heartbeat import STALE_S, Heartbeat, living


def test_a_worker_is_alive_from_start_to_stop(tmp_path: Path) -> None:
    beat = Heartbeat(tmp_path / "beats", "render")
    assert living(tmp_path / "beats") == []
    beat.start()
    assert living(tmp_path / "beats", "render") == [f"render-{os.getpid()}"]
    assert living(tmp_path / "beats", "answer") == []
    beat.stop()
    assert list((tmp_path / "beats").iterdir()) == []


def test_a_worker_that_is_not_healthy_stops_beating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.01)
    asked = []
    beat = Heartbeat(tmp_path, "answer")
    beat.healthy = lambda: bool(asked.append(1))
    beat.start()
    file = tmp_path / f"answer-{os.getpid()}"
    os.utime(file, (1, 1))
    wait_until(lambda: len(asked) > 2, description="it was asked again and again")
    assert living(tmp_path) == []
    beat.healthy = lambda: True
    wait_until(lambda: living(tmp_path), description="it beats again")
    beat.stop()


def test_an_old_file_is_no_sign_of_life(tmp_path: Path) -> None:
    file = tmp_path / f"render-{os.getpid()}"
    file.touch()
    assert living(tmp_path) == [file.name]
    old = time.time() - STALE_S - 1
    os.utime(file, (old, old))
    assert living(tmp_path) == []


def test_a_fresh_file_of_a_dead_process_is_none_either_and_the_next_worker_clears_it(
    tmp_path: Path,
) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    dead = tmp_path / f"render-{done.pid}"
    dead.touch()
    assert living(tmp_path) == []
    beat = Heartbeat(tmp_path, "render")
    beat.start()
    assert not dead.exists()
    beat.stop()


def test_a_folder_that_cannot_be_written_does_not_end_the_worker(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    beat = Heartbeat(tmp_path / "file" / "under", "render")
    beat.start()
    beat.stop()
    assert living(tmp_path / "file" / "under") == []


def test_alive_needs_no_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLYPH_HEARTBEAT_DIR", str(tmp_path))
    monkeypatch.setenv("GLYPH_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(sys, "argv", ["glyph-worker", "worker", "alive", "render"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 78
    assert str(tmp_path) in capsys.readouterr().err
    beat = Heartbeat(tmp_path, "render")
    beat.start()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    beat.stop()
    assert not ended.value.code
    monkeypatch.setattr(sys, "argv", ["glyph-worker", "worker", "ready", "render"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code
