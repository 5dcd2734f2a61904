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
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.machine import commit
from glyph_worker.settings import Settings

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


def with_own_time(
    events: Sequence[dict[str, Any]],
) -> Iterable[tuple[dict[str, Any], float]]:
    """Microseconds of each event less those of the events within it on the same thread or stream:
    operators nest, kernels do not."""
    inner: dict[int, float] = defaultdict(float)
    opened: dict[Any, list[dict[str, Any]]] = {}
    for event in sorted(events, key=lambda event: (event["ts"], -event["dur"])):
        stack = opened.setdefault((event.get("pid"), event.get("tid")), [])
        while stack and stack[-1]["ts"] + stack[-1]["dur"] <= event["ts"]:
            stack.pop()
        if stack:
            inner[id(stack[-1])] += event["dur"]
        stack.append(event)
    return [(event, max(0.0, event["dur"] - inner[id(event)])) for event in events]


def summary(events: Sequence[dict[str, Any]], *, top: int = 12) -> dict[str, Any]:
    """Milliseconds by kernel, and of gaps by their length."""
    found = on_device(events)
    ran, gaps = gaps_us(found)
    took: dict[str, float] = defaultdict(float)
    count: Counter[str] = Counter()
    for event, own_us in with_own_time(found):
        took[event["name"][:90]] += own_us
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
            for name, duration in sorted(took.items(), key=lambda item: -item[1])[:top]
        ],
    }


def environment_of(pid: int) -> dict[str, str]:
    """What a process of this user was started with; this one's own where nobody says."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return dict(os.environ)
    return dict(one.split("=", 1) for one in os.fsdecode(raw).split("\0") if "=" in one)


def catches_the_signal(pid: int) -> bool:
    """Whether SIGUSR2 would not simply end the process. True where nobody says."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGUSR2 - 1) & 1)


def of_worker(pid: int, folder: Path | None) -> Path:
    """Ask a living answer worker for a profile and wait until it is written.

    `folder` None: the GLYPH_DATA_DIR that the worker was started with. Ends with a line that says
    why, where there is no such worker.
    """
    if folder is None:
        folder = Settings.load(environ=environment_of(pid)).data_dir.expanduser()
    if not catches_the_signal(pid):
        raise SystemExit(
            f"process {pid} is no answer worker that is ready; its pid is in the log "
            "(worker.starting), in glyph-worker up's lines and in Flower's answer-PID@host"
        )
    before = set(folder.glob(f"profile-{pid}-*.json.gz"))
    try:
        os.kill(pid, signal.SIGUSR2)
    except (ProcessLookupError, PermissionError) as exc:
        raise SystemExit(f"process {pid} cannot be asked: {exc.strerror}") from exc
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        for path in set(folder.glob(f"profile-{pid}-*.json.gz")) - before:
            return path
        time.sleep(0.5)
    raise SystemExit(f"worker {pid} has written no profile to {folder} within {WAIT_S:.0f} s")


def of_bench(arguments: Sequence[str], path: Path) -> Path:
    """Run ops/bench/gpu under the profiler, all threads; its section `service` unless told which:
    a trace of all of them takes minutes to write."""
    import torch
    from torch._C._profiler import _ExperimentalConfig
    from torch.profiler import ProfilerActivity, profile

    from bench import gpu

    kinds = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(ProfilerActivity.CUDA)
    everywhere = _ExperimentalConfig(profile_all_threads=True)
    named = any(one.partition("=")[0] in ("--only", "--skip") for one in arguments)
    with profile(activities=kinds, experimental_config=everywhere) as profiled:
        code = gpu.main(arguments if named else [*arguments, "--only", "service"])
    if code:
        raise SystemExit(code)
    profiled.export_chrome_trace(str(path))
    return path


def main() -> int:
    if "--bench" in sys.argv:
        at = sys.argv.index("--bench")
        path = of_bench(sys.argv[at + 1 :], Path(f"profile-bench-{int(time.time())}.json.gz"))
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("trace", nargs="?", type=Path)
        parser.add_argument("--pid", type=int)
        parser.add_argument(
            "--folder",
            type=Path,
            help="where it is written, if not to the worker's own GLYPH_DATA_DIR",
        )
        options = parser.parse_args()
        if (options.trace is None) == (options.pid is None):
            parser.error("give a trace, or --pid of an answer worker, or --bench")
        path = options.trace or of_worker(options.pid, options.folder)
    report = {"bench": "profile", "commit": commit(), "trace": str(path), **summary(read(path))}
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
