"""The doors of `up --all`: one that dies is opened again where it was, and all end together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from waiting import PATIENCE_S, wait_until

from glyph_worker.local.side_services import SideServices
from glyph_worker.settings import Settings


@pytest.fixture
def settings(broker_url: str, tiny_checkpoint: Path) -> Settings:
    return Settings.load(
        environ={
            "GLYPH_BROKER_URL": broker_url,
            "GLYPH_MODEL": str(tiny_checkpoint),
            "GLYPH_GATEWAY_PORT": "0",
        }
    )


def pids(folder: Path) -> list[int]:
    """Of the gateways that have listened, in order."""
    rows: list[dict[str, Any]] = [
        json.loads(line)
        for line in (folder / "gateway.log").read_text().splitlines()
        if line.startswith("{")
    ]
    return [row["pid"] for row in rows if row.get("event") == "gateway.listening"]


def test_a_gateway_that_dies_comes_back_and_all_end_together(
    settings: Settings, tmp_path: Path
) -> None:
    doors = SideServices(settings, tmp_path)
    try:
        page = doors.start()[0].url
        assert doors.revive() == []
        (first,) = pids(tmp_path)
        os.kill(first, signal.SIGKILL)
        said = wait_until(doors.revive, description="its end is seen")
        assert said == ["gateway ended with code 137; started again"]

        def answers() -> bool:
            try:
                return httpx.get(page, trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers, description="it answers where it did")
    finally:
        doors.stop()
    assert not [pid for pid in pids(tmp_path) if psutil.pid_exists(pid)]


def test_up_prints_its_urls_on_stdout_and_what_happens_on_stderr(
    broker_url: str, tmp_path: Path
) -> None:
    printed, said = tmp_path / "stdout", tmp_path / "stderr"
    with printed.open("wb") as out, said.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "glyph_worker.cli", "up", "--all",
             "--render-workers", "0", "--answer-workers", "0"],
            env=os.environ | {"GLYPH_BROKER_URL": broker_url, "GLYPH_GATEWAY_PORT": "0",
                              "GLYPH_DATA_DIR": str(tmp_path)},
            stdout=out, stderr=err,
        )  # fmt: skip
    try:
        wait_until(
            lambda: process.poll() is not None or "Ctrl-C" in said.read_text(),
            description="it serves",
        )
        page = re.search(r"^page +(http://127.0.0.1:\d+)/$", printed.read_text(), re.MULTILINE)
        assert page is not None, printed.read_text() + said.read_text()
        assert httpx.get(f"{page[1]}/healthz", trust_env=False).status_code == 200
        assert f"export GLYPH_BROKER_URL={broker_url}" in printed.read_text()
        assert "http" not in said.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE_S) == 0
