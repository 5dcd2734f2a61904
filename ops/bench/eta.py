"""Is the ETA true? Jobs that ended within the p90, and the p50, told right after their submit.

Real workers on a small random checkpoint, real queue, mixed jobs: documents of 6 to 120 lines,
answers of 4 to 80 tokens, two tenants, both priorities. After a warm-up that is not counted:
a trickle at about half load, bursts that fall into one another, and a trickle over a burst of bulk
jobs. Coverage must be from 85 to 95 % of all jobs; how wide the estimates are is told beside it.

    ops/bench/eta [--quick] [--json PATH] [--jobs 240] [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.session import tiny_checkpoint

from bench.machine import ROOT, device_name, publish
from glyph_worker.client import Client
from glyph_worker.local.service import LocalService
from glyph_worker.settings import Settings

TENANTS = ("a", "b")
LOW, HIGH = 0.85, 0.95


@dataclass(slots=True)
class Told:
    """One job and what was said of it."""

    phase: str
    tenant: str
    id: str
    p50_s: float
    p90_s: float
    took_s: float = 0.0


class Producer:
    """Submits jobs drawn from one seed and keeps what it was told."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._clients = {tenant: Client(settings, tenant=tenant) for tenant in TENANTS}
        self._chance = random.Random(seed)
        self.told: list[Told] = []

    def submit(self, phase: str, *, bulk: bool = False) -> None:
        tenant = self._chance.choice(TENANTS)
        number = self._chance.randrange(10**9)
        lines = self._chance.choice((6, 15, 40, 120))
        text = "".join(f"{number} key {n}: value {n * 31}\n" for n in range(lines))
        client = self._clients[tenant]
        job = client.submit(
            text,
            f"key {number}?",
            max_new_tokens=self._chance.randint(4, 80),
            priority="bulk" if bulk else "interactive",
        )
        eta = client.status(job.id).eta
        # Before twenty jobs have ended there is no estimate; only the warm-up meets that.
        p50_s, p90_s = (0.0, 0.0) if eta is None else (eta.p50_s, eta.p90_s)
        self.told.append(Told(phase, tenant, job.id, p50_s, p90_s))

    def pause(self, mean_s: float) -> None:
        time.sleep(self._chance.expovariate(1 / mean_s))

    def finish(self) -> None:
        """Wait until all jobs are final and note what they took."""
        for tenant, client in self._clients.items():
            mine = [one for one in self.told if one.tenant == tenant and not one.took_s]
            while True:
                jobs = client.status_many([one.id for one in mine])
                if all(job is not None and job.status.final for job in jobs):
                    break
                time.sleep(0.25)
            for one, job in zip(mine, jobs, strict=True):
                assert job is not None
                assert job.finished_at
                assert job.created_at
                one.took_s = job.finished_at - job.created_at


def play(producer: Producer, num_jobs: int, say: Callable[[str], None]) -> None:
    share = num_jobs // 3
    began = time.monotonic()
    for _ in range(4):
        for _ in range(15):
            producer.submit("warm-up")
        producer.finish()
    job_s = (time.monotonic() - began) / 60
    say(f"warm-up: {job_s:.2f} s per job")

    for _ in range(share):
        producer.submit("trickle")
        producer.pause(2 * job_s)
    say("trickle submitted")
    for size in (share // 4, share // 2, share // 4):
        for _ in range(size):
            producer.submit("bursts")
        time.sleep(size * job_s * 0.7)
    producer.finish()
    say("bursts done")
    for _ in range(share // 2):
        producer.submit("over bulk", bulk=True)
    for _ in range(share - share // 2):
        producer.submit("over bulk")
        producer.pause(2 * job_s)
    producer.finish()


def summary(told: list[Told]) -> dict[str, float]:
    """Shares that ended within what was told, and how wide that was beside what it took."""
    return {
        "num_jobs": len(told),
        "within_p50": round(sum(one.took_s <= one.p50_s for one in told) / len(told), 3),
        "within_p90": round(sum(one.took_s <= one.p90_s for one in told) / len(told), 3),
        "took_median_s": round(statistics.median(one.took_s for one in told), 3),
        "p90_over_took": round(statistics.median(one.p90_s / one.took_s for one in told), 2),
        "p50_error": round(
            statistics.median(abs(one.p50_s - one.took_s) / one.took_s for one in told), 2
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--jobs", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    num_jobs = 90 if chosen.quick else chosen.jobs
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        os.environ |= {"GLYPH_LOG_LEVEL": "warning", "OMP_NUM_THREADS": "1"}
        settings = Settings.load(
            environ={"GLYPH_MODEL": str(tiny_checkpoint(folder)), "GLYPH_DEVICE": "cpu"}
        )
        with LocalService(settings, folder=folder / "service") as service:
            service.wait_ready(timeout_s=300)
            producer = Producer(service.settings, chosen.seed)
            play(producer, num_jobs, say=lambda text: print(text, flush=True))
    counted = [one for one in producer.told if one.phase != "warm-up"]
    phases = {
        phase: summary([one for one in counted if one.phase == phase])
        for phase in dict.fromkeys(one.phase for one in counted)
    }
    whole = summary(counted)
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    share = whole["within_p90"]
    found: dict[str, Any] = {
        "bench": "eta",
        "commit": commit,
        "device": device_name(),
        "settings": {"jobs": num_jobs, "seed": chosen.seed, "tenants": len(TENANTS)},
        "ratios": {"within_p50": whole["within_p50"], "within_p90": share},
        "bars": {
            "within_p90": {"value": share, "target": [LOW, HIGH], "met": LOW <= share <= HIGH}
        },
        "spread": {
            "within_p90": [
                min(row["within_p90"] for row in phases.values()),
                max(row["within_p90"] for row in phases.values()),
            ]
        },
        "all": whole,
        "phases": phases,
        "load_average": round(os.getloadavg()[0], 1),
    }
    publish(found, chosen.json)


if __name__ == "__main__":
    main()
