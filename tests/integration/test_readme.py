"""The README's tour, run as it stands: every Python block and every command of the five minutes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[2] / "README.md"


def _blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def _tour_commands() -> list[str]:
    lines = [line for block in _blocks("console") for line in block.splitlines()]
    return [line for line in lines if line.startswith("glyph-worker ") and line[13:15] != "up"]


@pytest.fixture(scope="module")
def nano_service(nano_fleet: Any) -> Any:
    nano_fleet.start("render", wait=False)
    nano_fleet.start("answer")
    nano_fleet.wait_ready(nano_fleet.processes[0])
    return nano_fleet


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_a_python_block_runs(nano_service: Any, number: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _blocks("python")[number]],
        env=nano_service.full_environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("command", _tour_commands())
def test_a_command_runs(nano_service: Any, command: str, tmp_path: Path) -> None:
    (tmp_path / "invoice.txt").write_text("Invoice number: NW-20418\nTotal due: 2679.88 EUR\n")
    bin_folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        command,
        shell=True,
        env=nano_service.full_environ | {"PATH": f"{bin_folder}:/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if "--json" in command:
        (row,) = json.loads(done.stdout)["jobs"]
        assert row["status"] == "succeeded"


def test_there_is_a_tour() -> None:
    assert len(_blocks("python")) >= 3
    assert len(_tour_commands()) >= 4
