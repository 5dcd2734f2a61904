"""Does a worker's memory stay flat over thousands of jobs? Resident bytes of each, job by job.

The real service on a small random checkpoint. The KV pool and the features kept in memory are made
so small that the warm-up fills both: from there on everything new takes an old one's place, and
what still grows is a leak. Half the jobs ask about a new document, half about one of the last
thirty; some have stop strings, some are cancelled, some fail; many are in flight at once.

What is kept for good is met in the first half: products compiled for each number of rows, widths of
words. Bar: in the second half of the jobs no worker grows by more than 3 % (last tenth of its
samples over the first). Bytes a job, by least squares over that half, stand beside it.

    ops/bench/memory [--quick] [--json PATH] [--jobs 3000] [--seed 1]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import tempfile
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from chaos.session import tiny_checkpoint

from bench import machine
from glyph_worker.client import Client
from glyph_worker.errors import JobError, JobFinished
from glyph_worker.local.service import LocalService
from glyph_worker.settings import Settings

KV_BYTES = 24 << 20
FEATURE_BYTES = 4 << 20
IN_FLIGHT = 24
SAMPLE_EVERY = 25
MAX_GROWTH = 0.03


@dataclass(slots=True)
class Workers:
    """Resident bytes of the worker processes by kind, sampled beside the number of jobs ended."""

    pids: dict[str, list[int]]
    num_jobs: list[int] = field(default_factory=list)
    resident: dict[str, list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, living: list[Any]) -> Workers:
        pids = {}
        for info in living:
            family = psutil.Process(info.pid).children(recursive=True)
            pids[info.kind] = [info.pid, *(child.pid for child in family)]
        return cls(pids)

    def sample(self, num_jobs: int) -> None:
        self.num_jobs.append(num_jobs)
        for kind, pids in self.pids.items():
            self.resident.setdefault(kind, []).append(machine.resident_bytes(*pids))

    def slope(self, kind: str) -> float:
        """Bytes a job in the second half, by least squares."""
        half = len(self.num_jobs) // 2
        xs, ys = self.num_jobs[half:], self.resident[kind][half:]
        x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
        over = sum((x - x0) ** 2 for x in xs)
        return sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True)) / max(1e-9, over)

    def growth(self, kind: str) -> float:
        """Of the last tenth of the second half's samples over the first tenth."""
        ys = self.resident[kind][len(self.num_jobs) // 2 :]
        tenth = max(1, len(ys) // 10)
        return (sum(ys[-tenth:]) / sum(ys[:tenth])) - 1


class Producer:
    """Keeps jobs in flight, drawn from one seed."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._client = Client(settings)
        self._chance = random.Random(seed)
        self._documents: deque[str] = deque(maxlen=30)
        self._flying: deque[str] = deque()
        self._number = 0
        self.ended = 0
        self.by_end: dict[str, int] = {}

    def _submit(self) -> None:
        chance = self._chance
        self._number += 1
        if not self._documents or chance.random() < 0.5:
            lines = chance.choice((6, 15, 40, 80))
            text = "".join(f"{self._number} key {n}: value {n * 31}\n" for n in range(lines))
            self._documents.append(text)
        job = self._client.submit(
            chance.choice(list(self._documents)),
            f"key {self._number}?",
            max_new_tokens=chance.randint(4, 60),
            stop=["zz", "q7"] if chance.random() < 0.3 else [],
            # One in twenty fails: its style has no such name on the workers.
            style="no-such-style" if chance.random() < 0.05 else "auto",
        )
        self._flying.append(job.id)
        if chance.random() < 0.05:
            with contextlib.suppress(JobFinished):  # it was quicker
                self._client.cancel(job.id)

    def step(self) -> None:
        """One job more in flight or, when there are enough, the oldest one's end."""
        if len(self._flying) < IN_FLIGHT:
            self._submit()
            return
        self._end_one()

    def _end_one(self) -> None:
        job_id = self._flying.popleft()
        try:
            self._client.wait(job_id, timeout=300)
            end = "succeeded"
        except JobError as exc:
            end = exc.code
        self.ended += 1
        self.by_end[end] = self.by_end.get(end, 0) + 1

    def finish(self) -> None:
        while self._flying:
            self._end_one()


def measure(folder: Path, jobs: int, warm_up: int, seed: int) -> dict[str, Any]:
    os.environ.update(
        GLYPH_MODEL=str(tiny_checkpoint(folder)),
        GLYPH_ENGINE_KV_BYTES=str(KV_BYTES),
        GLYPH_FEATURES_DEVICE_BYTES=str(FEATURE_BYTES),
        GLYPH_LOG_LEVEL="warning",
    )
    began = time.monotonic()
    with LocalService(Settings.load(), folder=folder) as service:
        service.wait_ready(timeout_s=300)
        producer = Producer(service.settings, seed)
        while producer.ended < warm_up:
            producer.step()
        workers = Workers.of(service.wait_ready())
        workers.sample(0)
        while producer.ended < warm_up + jobs:
            producer.step()
            done = producer.ended - warm_up
            if done >= workers.num_jobs[-1] + SAMPLE_EVERY:
                workers.sample(done)
                if done % 500 < SAMPLE_EVERY:
                    sizes = {k: round(v[-1] / 1e6, 1) for k, v in workers.resident.items()}
                    print(f"{done} jobs: {sizes} MB", flush=True)
        producer.finish()
    bars: dict[str, dict[str, Any]] = {}
    for kind in workers.resident:
        growth = workers.growth(kind)
        bars[f"{kind}_growth"] = {
            "value": round(growth, 4), "target": MAX_GROWTH, "met": growth <= MAX_GROWTH,
        }  # fmt: skip
    return {
        "bench": "memory",
        "commit": machine.commit(),
        "device": machine.device_name(),
        "settings": {
            "jobs": jobs, "warm_up": warm_up, "kv_bytes": KV_BYTES, "seed": seed,
            "feature_bytes": FEATURE_BYTES, "in_flight": IN_FLIGHT,
        },
        "ratios": {},
        "bars": bars,
        "spread": {
            kind: [round(min(ys) / 1e6, 1), round(max(ys) / 1e6, 1)]
            for kind, ys in workers.resident.items()
        },
        "bytes_per_job": {kind: round(workers.slope(kind)) for kind in workers.resident},
        "ends": producer.by_end,
        "resident_mb": {
            kind: [round(y / 1e6, 1) for y in ys] for kind, ys in workers.resident.items()
        },
        "seconds": round(time.monotonic() - began),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--jobs", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    jobs, warm_up = (100, 50) if chosen.quick else (chosen.jobs, 300)
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(Path(scratch), jobs, warm_up, chosen.seed)
    machine.publish(found, chosen.json)
    if not chosen.quick and not all(bar["met"] for bar in found["bars"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
