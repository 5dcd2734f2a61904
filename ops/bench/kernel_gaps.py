"""Makes or reads a torch profile, and sums what ran on the device and how long nothing did.

Usage: ops/profile --pid PID | --bench [ARGS of ops/bench/gpu] | TRACE.json[.gz]. Prints one JSON
line; the trace opens at https://ui.perfetto.dev. Without a GPU the operators of the busiest thread
stand in for kernels.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.machine import commit

DEVICE = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
WAIT_S = 120.0
"""For a worker's trace: five seconds, and the writing of it."""
SHORT_US, LONG_US = 10.0, 1_000.0
"""Gaps between: launches one after the other; a host that is late; nothing to do."""


def read(path: Path) -> list[dict[str, Any]]:
    """Events of a Chrome trace that have a duration."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    return [event for event in events if event.get("ph") == "X" and "dur" in event]


def on_device(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ran on the GPU or, without one, the operators of the thread that computed most."""
    found = [event for event in events if event.get("cat") in DEVICE]
    if found:
        return found
    busy: Counter[Any] = Counter()
    operators = [event for event in events if event.get("cat") == "cpu_op"]
    for event in operators:
        busy[event.get("tid")] += event["dur"]
    if not busy:
        return []
    [(thread, _)] = busy.most_common(1)
    return [event for event in operators if event.get("tid") == thread]


def gaps_us(events: Iterable[dict[str, Any]]) -> tuple[float, list[float]]:
    """Microseconds in which anything ran, streams beside each other once, and each gap between."""
    ran, gaps, end = 0.0, [], None
    for event in sorted(events, key=lambda event: event["ts"]):
        start, stop = float(event["ts"]), float(event["ts"]) + float(event["dur"])
        if end is None or start >= end:
            if end is not None and start > end:
                gaps.append(start - end)
            ran, end = ran + stop - start, stop
        elif stop > end:
            ran, end = ran + stop - end, stop
    return ran, gaps


def summary(events: Sequence[dict[str, Any]], *, top: int = 12) -> dict[str, Any]:
    """Milliseconds by kernel, and of gaps by their length."""
    found = on_device(events)
    ran, gaps = gaps_us(found)
    took: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for event in found:
        took[event["name"][:90]] += event["dur"]
        count[event["name"][:90]] += 1

    def ms(values: Iterable[float]) -> float:
        return round(sum(values) / 1e3, 3)

    whole = ran + sum(gaps)
    return {
        "busy_ms": ms([ran]),
        "busy_share": round(ran / whole, 4) if whole else 0.0,
        "gaps_ms": {
            f"under {SHORT_US:g} us": ms(gap for gap in gaps if gap < SHORT_US),
            f"under {LONG_US:g} us": ms(gap for gap in gaps if SHORT_US <= gap < LONG_US),
            "longer": ms(gap for gap in gaps if gap >= LONG_US),
        },
        "num_gaps": len(gaps),
        "kernels": [
            {"name": name, "ms": ms([duration]), "count": count[name]}
            for name, duration in took.most_common(top)
        ],
    }


def of_worker(pid: int, folder: Path) -> Path:
    """Ask a living answer worker for a profile and wait until it is written."""
    before = set(folder.glob(f"profile-{pid}-*.json.gz"))
    os.kill(pid, signal.SIGUSR2)
    end, size = time.monotonic() + WAIT_S, -1
    while time.monotonic() < end:
        for path in set(folder.glob(f"profile-{pid}-*.json.gz")) - before:
            if path.stat().st_size == size > 0:
                return path
            size = path.stat().st_size
        time.sleep(0.5)
    raise SystemExit(f"worker {pid} has written no profile to {folder} within {WAIT_S:.0f} s")


def of_bench(arguments: Sequence[str], path: Path) -> Path:
    """Run ops/bench/gpu under the profiler, all threads."""
    import torch
    from torch._C._profiler import _ExperimentalConfig
    from torch.profiler import ProfilerActivity, profile

    from bench import gpu

    kinds = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(ProfilerActivity.CUDA)
    everywhere = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=kinds, experimental_config=everywhere) as profiled:
        code = gpu.main(arguments)
    if code:
        raise SystemExit(code)
    profiled.export_chrome_trace(str(path))
    return path


def main() -> int:
    if "--bench" in sys.argv:
        at = sys.argv.index("--bench")
        path = of_bench(sys.argv[at + 1 :], Path(f"profile-bench-{int(time.time())}.json.gz"))
    else:
        from glyph_worker.settings import Settings

        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("trace", nargs="?", type=Path)
        parser.add_argument("--pid", type=int)
        parser.add_argument("--folder", type=Path, help="the worker's GLYPH_DATA_DIR")
        options = parser.parse_args()
        if (options.trace is None) == (options.pid is None):
            parser.error("give a trace, or --pid of an answer worker, or --bench")
        folder = options.folder or Settings().data_dir.expanduser()
        path = options.trace or of_worker(options.pid, folder)
    report = {"bench": "profile", "commit": commit(), "trace": str(path), **summary(read(path))}
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
