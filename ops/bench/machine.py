"""Where a benchmark ran: commit, device, and its processes' memory as their kernel counts it. And
how its report leaves it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:  # no git
        return "unknown"
    return done.stdout.strip() or "unknown"


def publish(report: Mapping[str, Any], path: Path | None) -> None:
    """Print a report as the last line, and keep it at `path` if there is one."""
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report))


def device_name(device: str = "cpu") -> str:
    """Also the instruction set: some ratios differ by half between AVX2 and AVX-512."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name().lower().replace(" ", "-")
    # Here, for a peer's own Python has no glyph_worker.
    from glyph_worker.model.formats import instruction_set

    return f"cpu-{_cpu_model()}-{os.cpu_count()}c-{instruction_set()}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip().lower().replace(" ", "-")
    return platform.machine()


def resident_bytes(*pids: int) -> int:
    return sum(_status(pid, "VmRSS") for pid in pids)


def peak_bytes(*pids: int) -> int:
    """Most each process had resident since it began, or since `forget_peak`, added up."""
    return sum(_status(pid, "VmHWM") for pid in pids)


def forget_peak(*pids: int) -> None:
    """Begin the high-water marks anew at what is resident now (`man 5 proc`: clear_refs)."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"process {pid} states no {name}")
