"""The bench of the GPU runs whole on the CPU with tiny shapes, and under the profiler."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(folder: Path, *command: str) -> list[dict[str, Any]]:
    """What a command of ops says in JSON, a line each."""
    done = subprocess.run(
        [ROOT / "ops" / command[0], *command[1:]],
        cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2_000:]}\n{done.stderr[-4_000:]}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_every_section_runs_with_tiny_shapes(tmp_path: Path) -> None:
    [report] = run(tmp_path, "bench/gpu", "--quick", "--json", str(tmp_path / "gpu.json"))
    assert report["skipped"] == []
    assert report["found"].keys() >= {
        "parity_tiny", "naive_float32", "parity", "decode_roofline", "vision", "service",
        "bfloat16_group", "host_tier", "documents", "ladder", "int8_in_24_gb",
    }  # fmt: skip
    for section in ("parity_tiny", "parity"):
        assert all(difference < 1e-4 for difference in report["found"][section].values())
    assert report["found"]["service"]["refusals"] == []
    assert report["found"]["service"]["compiled_while_serving"] == 0
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert kept["found"] == report["found"]


def test_it_is_profiled_and_its_trace_summed_up(tmp_path: Path) -> None:
    bench, profile = run(tmp_path, "profile", "--bench", "--quick")
    assert set(bench["found"]) == {"device_rates", "service"}
    assert bench["bench"] == "gpu"
    assert bench["found"]["service"]["jobs_s"] > 0
    assert (tmp_path / profile["trace"]).exists()
    assert profile["busy_ms"] > 0
    assert any(kernel["name"] == "aten::mm" for kernel in profile["kernels"])
