"""More pages, more jobs at once, more worker processes, more jobs waiting: where the service bends.

Four curves through the whole service, on a tiny random checkpoint (1.2 M parameters), so that what
bends is the service and not the model:
  pages       one question on a document of 1 to 1,000 pages
  concurrent  1 to 64 jobs at once, answered by one worker of eight slots
  workers     1 to 4 answer worker processes under 64 jobs at once
  queued      10 to 100,000 jobs waiting: submits, lookups, memory, and jobs/s of a worker behind it

Usage: ops/bench/scale [--quick] [--json PATH] [--only CURVE]...
With --json and --only, the other curves of an existing file are kept. A plot is written beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from synthetic.checkpoints import write_checkpoint

from bench.article_rows import STYLES, WORDS, document
from bench.machine import commit, device_name, peak_bytes
from glyph_worker.client import Client
from glyph_worker.job import Job, JobStatus
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.local.service import LocalService
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect

ANSWER_TOKENS = 8
JOBS = 64
Point = dict[str, float]
Curve = dict[str, Point]
"""What was found, by the number that grows."""


def waited(client: Client, job: Job) -> float:
    """Milliseconds from the record's making to its end, by the record's own clock."""
    client.wait(job.id, timeout=900)
    ended = client.status(job.id)
    assert ended.finished_at
    assert ended.created_at
    return (ended.finished_at - ended.created_at) * 1e3


def load(client: Client, documents: list[str], num_jobs: int, at_once: int) -> Point:
    """`num_jobs` over the documents in turn, `at_once` of them in the system."""

    def one(number: int) -> float:
        text = documents[number % len(documents)]
        question = f"What is {WORDS[number % len(WORDS)]} {number}?"
        return waited(client, client.submit(text, question, max_new_tokens=ANSWER_TOKENS))

    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        times = sorted(pool.map(one, range(num_jobs)))
    wall_s = time.perf_counter() - began
    return {
        "jobs_per_s": num_jobs / wall_s,
        "p50_ms": statistics.median(times),
        "p95_ms": times[int(len(times) * 0.95)],
    }


def pages_curve(settings: Settings, folder: Path, quick: bool) -> Curve:
    curve: Curve = {}
    with LocalService(settings, folder=folder) as service:
        living = service.wait_ready()
        pid = next(info.pid for info in living if info.kind == "answer")
        client = Client(service.settings)
        load(client, ["warm up\n" * 30], 1, 1)
        line = "valve pressure sensor controller firmware module {:06d}"  # none wraps: 8 a page
        for number in (1, 3, 10, 30) if quick else (1, 3, 10, 30, 100, 300, 1_000):
            text = "\n".join(line.format(number * 1_000 + at) for at in range(number * 8))
            job = client.submit(text, "What is valve?", max_new_tokens=ANSWER_TOKENS)
            total_ms = waited(client, job)
            answer = client.result(job.id)
            assert answer is not None
            receipt = answer.receipt
            again = client.submit(text, "And the sensor?", max_new_tokens=ANSWER_TOKENS)
            curve[str(number)] = {
                "pages": receipt.pages_encoded + receipt.pages_reused,
                "visual_tokens": receipt.visual_tokens,
                "total_ms": total_ms,
                "render_ms": receipt.render_ms,
                "encode_ms": receipt.encode_ms,
                "prefill_ms": receipt.prefill_ms,
                "decode_ms": receipt.decode_ms,
                "follow_up_ms": waited(client, again),
                "worker_peak_bytes": peak_bytes(pid),
            }
    return curve


def concurrent_curve(settings: Settings, folder: Path, quick: bool) -> Curve:
    rng, curve = random.Random(3), {}
    with LocalService(settings, folder=folder) as service:
        service.wait_ready()
        client = Client(service.settings)
        load(client, ["warm up\n" * 30], 1, 1)
        for at_once in (1, 4, 16) if quick else (1, 2, 4, 8, 16, 32, 64):
            texts = [document(rng, 1_200) for _ in range(8)]
            num_jobs = min(JOBS, 16 * at_once)
            curve[str(at_once)] = load(client, texts, num_jobs, at_once)
    return curve


def workers_curve(settings: Settings, folder: Path, quick: bool) -> Curve:
    rng, curve = random.Random(4), {}
    for number in (1, 2) if quick else (1, 2, 3, 4):
        with LocalService(settings, folder=folder / str(number), num_answer=number) as service:
            service.wait_ready()
            client = Client(service.settings)
            load(client, ["warm up\n" * 30], 2 * number, 2 * number)
            texts = [document(rng, 1_200) for _ in range(16)]
            curve[str(number)] = load(client, texts, JOBS, JOBS)
    return curve


def queued_curve(settings: Settings, folder: Path, quick: bool) -> Curve:
    levels = (10, 100, 1_000) if quick else (10, 100, 1_000, 10_000, 100_000)
    room = {"max_jobs": 10**6, "max_jobs_per_tenant": 10**6}
    os.environ |= {f"GLYPH_QUEUE_{name.upper()}": str(value) for name, value in room.items()}
    settings = settings.model_copy(update={"queue": settings.queue.model_copy(update=room)})
    server = EmbeddedServer(folder / "redis")
    server.start()
    curve: Curve = {}
    try:
        url = server.url()
        settings = settings.model_copy(update={"broker_url": SecretStr(url)})
        client, redis = Client(settings), connect(url)
        text = document(random.Random(5), 1_200)
        empty = redis.info("memory")["used_memory"]
        sent: list[str] = []
        for level in levels:
            began, before = time.perf_counter(), len(sent)
            while len(sent) < level:
                questions = [f"What is line {len(sent) + n}?" for n in range(10)]
                jobs = client.submit_many(text, questions, max_new_tokens=ANSWER_TOKENS)
                sent += [job.id for job in jobs]
            submit_s = time.perf_counter() - began
            looks = []
            for job_id in random.Random(6).choices(sent, k=200):
                at = time.perf_counter()
                client.status(job_id)
                looks.append((time.perf_counter() - at) * 1e3)
            curve[str(level)] = {
                "submits_per_s": (len(sent) - before) / submit_s,
                "status_ms": statistics.median(looks),
                "broker_bytes_per_job": (redis.info("memory")["used_memory"] - empty) / len(sent),
            }
            if level in (levels[1], levels[-1]):
                curve[str(level)] |= worked_off(settings, client, sent, folder / str(level))
    finally:
        server.stop()
    return curve


def worked_off(settings: Settings, client: Client, sent: list[str], folder: Path) -> Point:
    """Jobs per second of one worker of each kind behind this backlog, once it has warmed up."""
    with LocalService(settings, folder=folder) as service:
        service.wait_ready()
        seen, marks = 0, []
        began = time.perf_counter()
        while time.perf_counter() - began < 25 and seen < len(sent):
            ids = sent[:2_000]
            ended = [j for j in client.status_many(ids) if j and j.status is JobStatus.SUCCEEDED]
            if len(ended) != seen:
                seen = len(ended)
                marks.append((time.perf_counter(), seen))
            if seen >= min(len(sent) - 10, 600):
                break
            time.sleep(0.1)
    first, last = marks[0], marks[-1]
    return {"jobs_per_s": (last[1] - first[1]) / (last[0] - first[0])}


CURVES = {
    "pages": pages_curve,
    "concurrent": concurrent_curve,
    "workers": workers_curve,
    "queued": queued_curve,
}


def plot(path: Path, curves: dict[str, Curve], title: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = {
        "pages": ("pages of the document", "ms",
                  ("total_ms", "render_ms", "encode_ms", "prefill_ms", "follow_up_ms")),
        "concurrent": ("jobs at once", "jobs/s and ms", ("jobs_per_s", "p50_ms", "p95_ms")),
        "workers": ("answer workers", "jobs/s and ms", ("jobs_per_s", "p50_ms", "p95_ms")),
        "queued": ("jobs waiting", "", ("submits_per_s", "status_ms", "jobs_per_s")),
    }  # fmt: skip
    figure, axes = plt.subplots(2, 2, figsize=(12, 8))
    for (name, (below, beside, lines)), axis in zip(shown.items(), axes.flat, strict=True):
        curve = curves.get(name, {})
        for line in lines:
            points = [(int(at), point[line]) for at, point in curve.items() if line in point]
            if points:
                axis.plot(*zip(*points, strict=True), marker="o", label=line.replace("_", " "))
        axis.set_xlabel(below)
        axis.set_ylabel(beside)
        axis.set_yscale("log")
        axis.set_xscale("log", base=10 if name in ("pages", "queued") else 2)
        if curve:
            axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def ratios(curves: dict[str, Curve]) -> dict[str, float]:
    """How straight each curve is: 1 where twice the work takes twice the time, or twice the
    workers do twice the work."""
    found = {}
    if pages := curves.get("pages"):
        first, last = pages[min(pages, key=int)], pages[max(pages, key=int)]
        grown = last["visual_tokens"] / first["visual_tokens"]
        found["time_per_token_largest_vs_smallest"] = last["total_ms"] / first["total_ms"] / grown
    for name in ("concurrent", "workers"):
        if curve := curves.get(name):
            rates = [curve[at]["jobs_per_s"] for at in sorted(curve, key=int)]
            found[f"{name}_best_vs_one"] = max(rates) / rates[0]
    if queued := curves.get("queued"):
        few, many = queued[min(queued, key=int)], queued[max(queued, key=int)]
        found["status_ms_largest_vs_smallest"] = many["status_ms"] / few["status_ms"]
        rates = [point["jobs_per_s"] for point in queued.values() if "jobs_per_s" in point]
        found["jobs_per_s_largest_vs_smallest_backlog"] = rates[-1] / rates[0]
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", action="append", choices=list(CURVES))
    args = parser.parse_args()
    wanted = args.only or list(CURVES)
    kept = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    curves: dict[str, Curve] = kept.get("curves", {})
    commits: dict[str, str] = kept.get("commits", {})
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="glyph-scale-") as name:
        folder = Path(name)
        style = folder / "style.json"
        style.write_text(json.dumps(STYLES["384x96"]))
        os.environ["GLYPH_RENDER_STYLE"] = str(style)
        model = write_checkpoint(folder / "model", "tiny")
        settings = Settings.load(model=str(model), device="cpu")
        for curve in wanted:
            curves[curve] = CURVES[curve](settings, folder / curve, args.quick)
            commits[curve] = commit()
            result = {
                "bench": "scale", "commit": commit(), "device": device_name(),
                "settings": {"quick": args.quick, "model": "tiny", "answer_tokens": ANSWER_TOKENS,
                             "threads": os.environ.get("OMP_NUM_THREADS", "all")},
                "ratios": ratios(curves), "bars": {}, "spread": {},
                "commits": commits, "curves": curves,
            }  # fmt: skip
            for at, point in curves[curve].items():
                figures = ", ".join(f"{k} {v:.4g}" for k, v in point.items())
                print(f"{curve} {at}: {figures}", file=sys.stderr)
            if args.json:
                args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.json:
        plot(args.json.with_suffix(".png"), curves, f"{device_name()}, tiny random checkpoint")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
