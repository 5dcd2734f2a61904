"""The README's curl lines, run as they stand against a real gateway, with their answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess

ROOT = Path(__file__).parents[2]


def _steps() -> list[tuple[str, str]]:
    """Each command with the comment below it, which is what it prints; `…` stands for anything."""
    text = (ROOT / "README.md").read_text()
    block = next(
        part for part in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) if "curl" in part
    )
    lines = block.splitlines()
    return [
        (command, said.removeprefix("# "))
        for command, said in zip(lines[::2], lines[1::2], strict=True)
    ]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_lines_print_what_the_readme_says(nano_fleet: Any, tmp_path: Path) -> None:
    nano_fleet.start("render", wait=False)
    nano_fleet.start("answer")
    nano_fleet.wait_ready(nano_fleet.processes[0])
    shutil.copy(ROOT / "glyph_worker/local/documents/invoice.txt", tmp_path)
    gateway = GatewayProcess(tmp_path, nano_fleet.environ)
    last_id = "ID"
    try:
        for command, said in _steps():
            here = command.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}")
            done = subprocess.run(
                ["/bin/sh", "-c", here.replace("ID", last_id)], cwd=tmp_path,
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            pattern = ".*".join(re.escape(part) for part in said.split("…"))
            assert re.fullmatch(pattern, done.stdout), f"{command}\n{done.stdout}"
            last_id = json.loads(done.stdout).get("id", last_id)
    finally:
        gateway.stop()


def test_there_are_curl_lines() -> None:
    assert len(_steps()) >= 3
