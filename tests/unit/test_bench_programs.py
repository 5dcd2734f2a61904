"""A bench without the program it compares with says which one, and who installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("bench", "program"), [("render", "pdftoppm"), ("legibility", "tesseract")]
)
def test_a_bench_without_its_program_names_what_installs_it(
    bench: str, program: str, tmp_path: Path
) -> None:
    environ = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "ops")}
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{bench}", "--quick"],
        env=environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert program in done.stderr
    assert "ops/system-packages" in done.stderr
