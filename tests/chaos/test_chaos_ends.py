"""What a chaos run or a bench has started ends with it, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def gone(pid: int, *, within_s: float) -> bool:
    """Whether that process ends in this time."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        stat = Path(f"/proc/{pid}/stat")
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


def in_session_of(word: str) -> list[int]:
    """Processes that have this word in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if word.encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_gateway_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, sys, time, pathlib\n"
            "from chaos.follow import Gateway\n"
            f"gateway = Gateway(pathlib.Path({str(tmp_path / 'log')!r}), dict(os.environ))\n"
            "gateway.start()\n"
            "print(gateway.process.pid, flush=True)\n"
            "time.sleep(600)\n",
        ],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'ops'}", "PATH": ""},
        text=True,
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.kill()
    starter.wait()
    starter.stdout.close()
    assert gone(pid, within_s=60)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at /proc")
@pytest.mark.parametrize(
    ("words", "num_processes"),
    [
        # Two servers, four workers and the gateway, beside the run itself.
        (["ops/chaos/run", "--jobs", "200", "--kills", "0"], 8),
        # A server, the gateway and the echo, each under two shells: while they start, and all.
        (["ops/bench/gateway", "--quick"], 5),
        (["ops/bench/gateway", "--quick"], 10),
    ],
)
def test_terminated_run_leaves_no_process(
    tmp_path: Path, words: list[str], num_processes: int
) -> None:
    name, value = "CHAOS_TEST_MARK", str(tmp_path)
    run = subprocess.Popen(
        ["env", f"{name}={value}", str(ROOT / words[0]), *words[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while len(in_session_of(f"{name}={value}")) < num_processes and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=200)
        assert run.returncode == 128 + signal.SIGTERM, said
        left = [pid for pid in in_session_of(f"{name}={value}") if not gone(pid, within_s=30)]
        assert left == []
    finally:
        for pid in in_session_of(f"{name}={value}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.communicate()
