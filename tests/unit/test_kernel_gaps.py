"""A trace's kernels and the gaps between them are summed; a real profile is read."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.kernel_gaps import gaps_us, of_worker, read, summary
from torch.profiler import ProfilerActivity, profile


def event(name: str, start: float, us: float, cat: str = "kernel", tid: int = 1) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": cat, "ts": start, "dur": us, "tid": tid}


def test_streams_beside_each_other_count_once_and_gaps_by_their_length() -> None:
    events = [
        event("gemm", 0, 100),
        event("copy", 50, 100, cat="gpu_memcpy", tid=2),  # overlaps: to 150
        event("gemm", 155, 45),  # 5 us later
        event("norm", 300, 100),  # 100 us later
        event("norm", 5_400, 100),  # 5 ms later
        event("aten::mm", 0, 9_000, cat="cpu_op"),
    ]
    ran, gaps = gaps_us(event for event in events if event["cat"] != "cpu_op")
    assert (ran, gaps) == (395, [5, 100, 5_000])
    found = summary(events)
    assert found["busy_ms"] == pytest.approx(0.395)
    assert found["busy_share"] == pytest.approx(395 / 5_500, abs=1e-4)
    assert found["gaps_ms"] == {"under 10 us": 0.005, "under 1000 us": 0.1, "longer": 5.0}
    assert found["kernels"][0] == {"name": "norm", "ms": 0.2, "count": 2}


def test_a_profile_without_a_gpu_is_read_by_its_busiest_thread(tmp_path: Path) -> None:
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        torch.randn(64, 64) @ torch.randn(64, 64)
    path = tmp_path / "trace.json"
    profiled.export_chrome_trace(str(path))
    packed = tmp_path / "trace.json.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        found = summary(read(one))
        assert found["busy_ms"] > 0
        assert any("mm" in kernel["name"] for kernel in found["kernels"])


def test_operators_within_operators_count_once() -> None:
    events = [
        event("aten::linear", 0, 100, cat="cpu_op"),
        event("aten::matmul", 5, 90, cat="cpu_op"),
        event("aten::mm", 10, 80, cat="cpu_op"),
        event("aten::mm", 100, 50, cat="cpu_op"),
    ]
    found = summary(events)
    assert found["busy_ms"] == pytest.approx(0.150)
    took = {kernel["name"]: kernel["ms"] for kernel in found["kernels"]}
    assert took == {"aten::linear": 0.01, "aten::matmul": 0.01, "aten::mm": 0.13}


def test_a_process_that_is_no_answer_worker_is_left_alone(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        if Path("/proc/self/status").exists():
            with pytest.raises(SystemExit, match="no answer worker"):
                of_worker(other.pid, tmp_path)
        assert other.poll() is None
    finally:
        other.communicate(b"\n")
    with pytest.raises(SystemExit, match=f"{other.pid} cannot be asked"):
        of_worker(other.pid, tmp_path)


def test_a_trace_of_nothing_is_told_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text(json.dumps({"traceEvents": []}))
    assert summary(read(path))["busy_share"] == 0.0
