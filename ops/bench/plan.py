"""Does `glyph-worker plan` say what really happens? A device's costs fitted, then checked.

Through the whole service, on random weights of 34 M parameters: some loads give the four costs of
the planner's device (seconds per encoded token, per prefilled token, per answer token, per job) by
least squares; other loads, with other pages, questions and answers, are then planned and measured.
The largest error of the planned jobs/s is told, and what a job costs the broker and the cache.

Usage: ops/bench/plan [--quick] [--json PATH] [--device-json PATH]
The device, as `glyph-worker plan --device PATH` takes it, is written to --device-json.
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from pydantic import SecretStr
from synthetic.checkpoints import SHAPES, write_checkpoint

from bench.article_rows import STYLES, WORDS
from bench.machine import commit, device_name, publish
from glyph_worker.client import Client
from glyph_worker.engine.kv import KVPool
from glyph_worker.engine.kv_budget import CPU_KV_BYTES
from glyph_worker.job import Receipt
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.local.service import LocalService
from glyph_worker.plan.capacity import Site, make_plan
from glyph_worker.plan.device import Device
from glyph_worker.plan.load import Load
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect

PAGE_LINES = 8
PAGE_TOKENS = 56
"""Visual tokens of a full page in the article's smallest image."""


@dataclass(frozen=True)
class Trial:
    """Documents asked about all at once."""

    documents: int
    pages: int
    questions: int
    answer_tokens: int


@dataclass(frozen=True)
class Measured:
    trial: Trial
    wall_s: float
    receipts: list[Receipt]

    @property
    def jobs_per_s(self) -> float:
        return len(self.receipts) / self.wall_s

    @property
    def amounts(self) -> list[float]:
        """Visual tokens encoded, prompt tokens prefilled, answer tokens, jobs."""
        encoded = sum(r.pages_encoded for r in self.receipts) * PAGE_TOKENS
        prefilled = sum(r.prompt_tokens - r.prefix_tokens_reused for r in self.receipts)
        answered = sum(r.answer_tokens for r in self.receipts)
        return [encoded, prefilled, answered, len(self.receipts)]


FITTED = [Trial(12, 4, 1, 8), Trial(24, 1, 1, 4), Trial(4, 4, 8, 8), Trial(24, 1, 1, 48),
          Trial(3, 12, 2, 8)]  # fmt: skip
WITHOUT_PREFIXES = [Trial(4, 4, 6, 8), Trial(2, 12, 4, 8)]
"""Features are reused and pages prefilled again: what tells encoding from prefilling."""
CHECKED = [Trial(6, 6, 3, 16), Trial(10, 2, 5, 8), Trial(3, 10, 5, 32), Trial(16, 3, 1, 24)]


def run(client: Client, trial: Trial, rng: random.Random) -> Measured:
    def document() -> str:
        stamp = rng.randrange(10**9)
        return "\n".join(
            f"{rng.choice(WORDS)} {rng.choice(WORDS)} {stamp:09d} {n:04d}"
            for n in range(trial.pages * PAGE_LINES)
        )

    asked = [
        (text, f"What is {WORDS[n]} {n}?")
        for text in [document() for _ in range(trial.documents)]
        for n in range(trial.questions)
    ]

    def ask(pair: tuple[str, str]) -> Receipt:
        job = client.submit(*pair, max_new_tokens=trial.answer_tokens)
        return client.wait(job.id, timeout=300).receipt

    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=len(asked)) as pool:
        receipts = list(pool.map(ask, asked))
    return Measured(trial, time.perf_counter() - began, receipts)


def fit(measured: list[Measured]) -> list[float]:
    """Four costs, none below zero, that come closest to the measured seconds in proportion."""
    amounts = np.array([m.amounts for m in measured])
    seconds = np.array([m.wall_s for m in measured])
    rows, goal = amounts / seconds[:, None], np.ones(len(measured))
    kept = list(range(4))
    while True:  # leave out the most negative cost until none is
        found = np.zeros(4)
        found[kept] = np.linalg.lstsq(rows[:, kept], goal, rcond=None)[0]
        if found.min() >= 0:
            return [float(cost) for cost in found]
        kept.remove(int(found.argmin()))


def planned_jobs_per_s(trial: Trial, measured: Measured, device: Device) -> float:
    """What the planner says one full device answers; tokens that depend on the checkpoint alone
    (how long its answers are) are taken from the receipts."""
    receipts = measured.receipts
    question = statistics.fmean(r.prompt_tokens - r.visual_tokens for r in receipts)
    load = Load(
        documents_per_day=1, peak=1, pages=trial.pages, questions=trial.questions,
        page_tokens=PAGE_TOKENS, question_tokens=question, prefix_hit_rate=1,
        answer_tokens=max(0.01, statistics.fmean(r.answer_tokens for r in receipts)),
    )  # fmt: skip
    return make_plan(load, device, Site(utilisation=1)).jobs_per_device_s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the tiny checkpoint")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device-json", type=Path)
    args = parser.parse_args()
    rng = random.Random(11)
    size = "tiny" if args.quick else "small"
    with tempfile.TemporaryDirectory(prefix="glyph-plan-") as name:
        folder = Path(name)
        style = folder / "style.json"
        style.write_text(json.dumps(STYLES["384x96"]))
        os.environ["GLYPH_RENDER_STYLE"] = str(style)
        model = str(write_checkpoint(folder / "model", size))
        server = EmbeddedServer(folder / "redis")
        server.start()
        try:
            settings = Settings.load(model=model, device="cpu").model_copy(
                update={"broker_url": SecretStr(server.url())}
            )
            os.environ["GLYPH_OFF"] = "prefix_sharing"
            with LocalService(settings, folder=folder / "apart") as service:
                service.wait_ready()
                client = Client(settings)
                run(client, Trial(2, 1, 1, 4), rng)
                fitted = [run(client, trial, rng) for trial in WITHOUT_PREFIXES]
            del os.environ["GLYPH_OFF"]
            with LocalService(settings, folder=folder / "shared") as service:
                service.wait_ready()
                run(client, Trial(2, 1, 1, 4), rng)
                broker, redis = psutil.Process(server.pid), connect(server.url())
                memory, cpu = redis.info("memory")["used_memory"], broker.cpu_times()
                fitted += [run(client, trial, rng) for trial in FITTED]
                checked = [run(client, trial, rng) for trial in CHECKED]
                num_jobs = sum(len(m.receipts) for m in [*fitted, *checked])
                used = broker.cpu_times()
                cpu_s = used.user + used.system - cpu.user - cpu.system
                grown = redis.info("memory")["used_memory"] - memory
        finally:
            server.stop()
    costs, text = fit(fitted), SHAPES[size]["text"]
    device = Device(
        name=f"{device_name()}-{size}", source=f"ops/bench/plan at commit {commit()}",
        encode_s=costs[0], prefill_s=costs[1], decode_s=costs[2], job_s=costs[3],
        feature_bytes=text["hidden_size"] * 4, kv_room_bytes=CPU_KV_BYTES,
        kv_bytes=KVPool.bytes_per_token(
            num_layers=text["num_hidden_layers"], num_kv_heads=text["num_key_value_heads"],
            head_dim=text["hidden_size"] // text["num_attention_heads"], dtype=torch.float32,
        ),
    )  # fmt: skip
    rows = []
    for kind, many in (("fitted", fitted[len(WITHOUT_PREFIXES) :]), ("checked", checked)):
        for one in many:
            planned = planned_jobs_per_s(one.trial, one, device)
            rows.append({
                "kind": kind, **one.trial.__dict__, "measured_jobs_per_s": one.jobs_per_s,
                "planned_jobs_per_s": planned, "error": planned / one.jobs_per_s - 1,
            })  # fmt: skip
            print(f"{kind} {one.trial}: measured {one.jobs_per_s:.2f}/s, planned {planned:.2f}/s",
                  file=sys.stderr)  # fmt: skip
    errors = [abs(row["error"]) for row in rows if row["kind"] == "checked"]
    result = {
        "bench": "plan", "commit": commit(), "device": device_name(),
        "settings": {"model": size, "quick": args.quick},
        "ratios": {"largest_error": round(max(errors), 3),
                   "median_error": round(statistics.median(errors), 3)},
        "bars": {}, "spread": {},
        "broker_cpu_ms_per_job": round(1e3 * cpu_s / num_jobs, 3),
        "server_bytes_per_job": round(grown / num_jobs),
        "costs": device.model_dump(), "loads": rows,
    }  # fmt: skip
    if args.device_json:
        args.device_json.write_text(device.model_dump_json(indent=1) + "\n")
    publish(result, args.json)


if __name__ == "__main__":
    main()
