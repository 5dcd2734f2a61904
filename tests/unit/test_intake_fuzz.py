"""A few hundred evil files through intake and layout; `ops/fuzz/documents` has fifty thousand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_file_crashes_intake_or_loses_a_character() -> None:
    done = subprocess.run(
        [ROOT / "ops/fuzz/documents", "--count", "300", "--real", "40", "--seed", "7"],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["num_files"] >= 300
    assert report["faults"] == report["lost_processes"] == []
    assert report["outcomes"]["read"] > 100
