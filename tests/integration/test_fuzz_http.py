"""A small share of ops/fuzz/http: no request brings an error 500, seconds of CPU, or silence."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


def test_random_requests_bring_no_fault_and_health_is_answered_throughout() -> None:
    # The command's own bar of one second is for a quiet machine.
    command = [str(ROOT / "ops/fuzz/http"), "--count", "150", "--seed", "5", "--patience", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["requests"] == 150
    assert found["faults"] == []
    assert found["health"]["asked"] > 0
    assert {"202", "404", "415", "422"} <= set(found["statuses"])
