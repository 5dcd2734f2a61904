"""What our path costs beside plain Celery: jobs/s, added milliseconds, polls, memory per job.

Both sides: two stages on two queues, one prefork child for the first, a thread pool of ten for the
second, `replace` between them, acks late, prefetch 1, task events on, msgpack, one Redis with its
append-only file. Ours: records, fences, fair turns, idempotency, leases and heartbeats, with an
engine that answers at once. Theirs: two tasks with nothing in them and a Redis result backend.
Rounds alternate. Wall time on a busy machine says little: CPU milliseconds per job, of producer,
workers and server together, are counted as well. No torch.

Usage: ops/bench/queue [--quick] [--json PATH] [--jobs N] [--rounds N]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from bench import queue_sides
from bench.machine import ROOT, device_name, publish
from glyph_worker.client import Client
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.settings import Settings

DOCUMENT = "order 4711: two lamps, 12.50 EUR\n" * 60  # 2 KB
WORKERS = (("ours", "render"), ("ours", "answer"), ("plain", "first"), ("plain", "second"))


def say(text: str) -> None:
    print(text, flush=True)


@contextlib.contextmanager
def workers(folder: Path, urls: dict[str, str]) -> Iterator[dict[str, list[int]]]:
    """One process per side and stage, ended with us. Yields their pids by side."""
    running = []
    pids: dict[str, list[int]] = {"ours": [], "plain": []}
    for side, stage in WORKERS:
        log = (folder / f"{side}-{stage}.log").open("wb")
        environ = os.environ | {
            "GLYPH_BROKER_URL": urls[side],
            "GLYPH_LOG_LEVEL": "warning",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "bench.queue_sides", side, stage]
        running.append(
            subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=log, stderr=log)
        )
        pids[side].append(running[-1].pid)
    try:
        yield pids
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


class Ours:
    """Through the client, as a producer would."""

    def __init__(self, settings: Settings) -> None:
        self.client = Client(settings)

    def submit(self, number: int) -> str:
        return self.client.submit(DOCUMENT, f"question {number}?", max_new_tokens=8).id

    def num_done(self, ids: list[str]) -> int:
        return sum(bool(job and job.status.final) for job in self.client.status_many(ids))

    def wait(self, job_id: str) -> None:
        while self.client.result(job_id) is None:
            time.sleep(0.001)


class Plain:
    """Celery and nothing else: the document in the message, the answer in the result backend."""

    def __init__(self, url: str) -> None:
        self.app = queue_sides.plain_app(url)

    def submit(self, number: int) -> str:
        task = self.app.send_task("plain.first", args=(DOCUMENT, f"question {number}?"))
        return str(task.id)

    def num_done(self, ids: list[str]) -> int:
        backend = self.app.backend
        keys = [backend.get_key_for_task(i) for i in ids]
        # With track_started a key is there from the start on.
        return sum(raw is not None and b"SUCCESS" in raw for raw in backend.client.mget(keys))

    def wait(self, job_id: str) -> None:
        while not self.app.AsyncResult(job_id).ready():
            time.sleep(0.001)


def all_done(side: Any, ids: list[str]) -> None:
    deadline = time.monotonic() + 300
    left = ids
    while left:
        done = side.num_done(left)
        if done == len(left):
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{type(side).__name__}: {len(left) - done} jobs not done in 300 s")
        time.sleep(0.1)  # seldom: the producer's polls are not what is measured here


def throughput(side: Any, number: int) -> dict[str, float]:
    """Submit all, then wait for all: jobs/s from the first submit to the last end."""
    started = time.perf_counter()
    ids = [side.submit(n) for n in range(number)]
    submitted = time.perf_counter()
    all_done(side, ids)
    ended = time.perf_counter()
    return {
        "jobs_per_s": number / (ended - started),
        "submits_per_s": number / (submitted - started),
    }


def cpu_s(pids: list[int], server_pid: int) -> float:
    """CPU seconds so far of these processes, their children, the server and ourselves."""
    ticks = 0
    for pid in [server_pid, *pids]:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for member in (pid, *children):
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def latency_ms(side: Any, number: int) -> float:
    """Median milliseconds from submit to answer, one job at a time."""
    took = []
    for n in range(number):
        started = time.perf_counter()
        side.wait(side.submit(n))
        took.append((time.perf_counter() - started) * 1e3)
    return statistics.median(took)


def polls(client: Client, ids: list[str], seconds: float) -> dict[str, float]:
    """Ids per second that `status` and `status_many` tell about."""

    def rate(call: Callable[[], object], per_call: int) -> float:
        calls, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            call()
            calls += 1
        return round(calls * per_call / (time.perf_counter() - started), 1)

    return {
        "1": rate(lambda: client.status(ids[0]), 1),
        "100": rate(lambda: client.status_many(ids[:100]), 100),
        "10000": rate(lambda: client.status_many(ids), len(ids)),
    }


def memory_per_job(url: str, side: Any, number: int) -> float:
    """Bytes that one waiting job takes on the server; one document for all of ours."""
    with redis.Redis.from_url(url) as server:
        side.submit(-1)
        before = int(server.info("memory")["used_memory"])
        for n in range(number):
            side.submit(n)
        return (int(server.info("memory")["used_memory"]) - before) / number


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    jobs, rounds = (60, 2) if chosen.quick else (chosen.jobs, chosen.rounds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with EmbeddedServer(folder / "redis") as server:
            found = measure(server, folder, jobs, rounds, quick=chosen.quick)
    publish(found, chosen.json)


def measure(
    server: EmbeddedServer, folder: Path, jobs: int, rounds: int, *, quick: bool
) -> dict[str, Any]:
    urls = {"ours": server.url(1), "plain": server.url(2)}
    environ = {"GLYPH_BROKER_URL": urls["ours"]}
    sides: dict[str, Any] = {
        "ours": Ours(Settings.load(environ=environ)),
        "plain": Plain(urls["plain"]),
    }
    rates: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    waits: dict[str, list[float]] = {"ours": [], "plain": []}
    spent: dict[str, list[float]] = {"ours": [], "plain": []}
    with workers(folder, urls) as pids:
        for side in sides.values():  # workers up, scripts loaded, connections open
            all_done(side, [side.submit(n) for n in range(30)])
        for turn in range(rounds):
            order = list(sides.items())
            for name, side in order if turn % 2 else reversed(order):
                before = cpu_s(pids[name], server.pid)
                rates[name].append(throughput(side, jobs))
                spent[name].append((cpu_s(pids[name], server.pid) - before) * 1e3 / jobs)
                waits[name].append(latency_ms(side, 10 if quick else 100))
            say(f"round {turn + 1}: " + ", ".join(
                f"{name} {rates[name][-1]['jobs_per_s']:.0f} jobs/s "
                f"({rates[name][-1]['submits_per_s']:.0f} submits/s), {waits[name][-1]:.1f} ms, "
                f"{spent[name][-1]:.1f} CPU ms/job"
                for name in sides))  # fmt: skip
    # Nobody works from here on.
    number = 300 if quick else 2_000
    memory = {
        "ours": memory_per_job(server.url(3), Ours(_settings(server.url(3))), number),
        "plain": memory_per_job(server.url(4), Plain(server.url(4)), number),
    }
    many = Ours(_settings(server.url(5)))
    ids = [many.submit(n) for n in range(1_000 if quick else 10_000)]
    polled = polls(many.client, ids, 1.0 if quick else 3.0)
    say(f"polls: {polled}; bytes per waiting job: {memory}")
    ratios = [
        ours["jobs_per_s"] / plain["jobs_per_s"]
        for ours, plain in zip(rates["ours"], rates["plain"], strict=True)
    ]
    ratio = statistics.median(ratios)
    cpu = {name: statistics.median(ms) for name, ms in spent.items()}
    added = statistics.median(waits["ours"]) - statistics.median(waits["plain"])
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()

    def middle(name: str, what: str) -> float:
        return round(statistics.median(row[what] for row in rates[name]), 1)

    return {
        "bench": "queue",
        "commit": commit,
        "device": device_name(),
        "settings": {"jobs": jobs, "rounds": rounds, "document_bytes": len(DOCUMENT)},
        "ratios": {
            "jobs_per_s_vs_plain": round(ratio, 3),
            "cpu_per_job_plain_vs_ours": round(cpu["plain"] / cpu["ours"], 3),
            "submits_per_s_vs_plain": round(
                middle("ours", "submits_per_s") / middle("plain", "submits_per_s"), 3
            ),
            "memory_vs_plain": round(memory["ours"] / memory["plain"], 3),
        },
        "bars": {
            "jobs_per_s_vs_plain": {"value": round(ratio, 3), "target": 0.8, "met": ratio >= 0.8}
        },
        "spread": {"jobs_per_s_vs_plain": [round(min(ratios), 3), round(max(ratios), 3)]},
        "cpu_ms_per_job": {name: round(ms, 2) for name, ms in cpu.items()},
        "jobs_per_s": {name: middle(name, "jobs_per_s") for name in rates},
        "submits_per_s": {name: middle(name, "submits_per_s") for name in rates},
        "latency_ms": {name: round(statistics.median(ms), 2) for name, ms in waits.items()},
        "added_ms": round(added, 2),
        "status_ids_per_s": polled,
        "bytes_per_waiting_job": {name: round(value) for name, value in memory.items()},
        "load_average": round(os.getloadavg()[0], 1),
    }


def _settings(url: str) -> Settings:
    return Settings.load(environ={"GLYPH_BROKER_URL": url})


if __name__ == "__main__":
    main()
