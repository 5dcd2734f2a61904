"""SIGUSR2 to a working answer worker leaves a trace of its operators, and the job goes on."""

from __future__ import annotations

import gzip
import json
import os
import signal
from pathlib import Path
from typing import Any

from waiting import PATIENCE_S, wait_until


def test_a_living_worker_profiles_itself_on_a_signal(fleet: Any, tmp_path: Path) -> None:
    fleet.environ["GLYPH_DATA_DIR"] = str(tmp_path / "data")
    fleet.start("render", wait=False)
    worker = fleet.start("answer")
    job = fleet.client.submit("text\n" * 9, "a?", max_new_tokens=1_000, temperature=1.0)
    os.kill(worker.pid, signal.SIGUSR2)
    found = wait_until(
        lambda: "worker.profiled" in fleet.logs() and list((tmp_path / "data").glob("*.json.gz")),
        description=f"there is a trace\n{fleet.logs()}",
    )
    events = json.loads(gzip.decompress(found[0].read_bytes()))["traceEvents"]
    assert any(str(event.get("name", "")).startswith("aten::") for event in events)
    assert fleet.client.wait(job.id, timeout=PATIENCE_S).receipt.answer_tokens > 0
