"""A working answer worker profiles itself for `./ops/profile --pid`, and its jobs go on."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from waiting import PATIENCE_S, wait_until


def test_a_living_worker_is_profiled_by_its_pid(endless_fleet: Any, tmp_path: Path) -> None:
    fleet = endless_fleet
    fleet.environ["GLYPH_DATA_DIR"] = str(tmp_path / "data")
    fleet.start("render", wait=False)
    worker = fleet.start("answer")
    # Enough for any machine to be at work throughout.
    jobs = [fleet.client.submit("text\n" * 9, "a?", max_new_tokens=4_000) for _ in range(12)]

    def written() -> int:
        return sum(fleet.client.status(job.id).progress.num_answer_tokens for job in jobs)

    wait_until(written, description="answers are being written")
    # As a newcomer asks: in an environment that does not know where the worker writes.
    root = Path(__file__).resolve().parents[2]
    asked = subprocess.run(
        [root / "ops" / "profile", "--pid", str(worker.pid)],
        env={name: value for name, value in os.environ.items() if not name.startswith("GLYPH_")},
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert asked.returncode == 0, f"{asked.stderr}\n{fleet.logs()}"
    found = json.loads(asked.stdout.splitlines()[-1])
    assert Path(found["trace"]).parent == tmp_path / "data"
    wait_until(lambda: "worker.profiled" in fleet.logs(), description="it is logged")
    assert found["busy_ms"] > 0
    assert any(kernel["name"].startswith("aten::") for kernel in found["kernels"])
    before = written()
    wait_until(lambda: written() > before, description="the worker goes on")
    for job in jobs:
        fleet.client.cancel(job.id)
