"""Several worker processes on one new document: every page is encoded once. A real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

NUM_PAGES = 24

WORKER = """
import hashlib, json, sys, threading
from concurrent.futures import ThreadPoolExecutor
import torch
torch.set_num_threads(1)
from glyph_worker.features.cache import FeatureCache
from made_up import FakeEncoder, fake_page, fake_request
from glyph_worker.setting_sections import (FeatureSettings)
from glyph_worker.store.features import CacheStore

url, num_jobs, num_pages, ms_per_page, hang_at = sys.argv[1], *map(int, sys.argv[2:6])
encoder = FakeEncoder(ms_per_page=ms_per_page)

def on_page(pixels):
    if hang_at and encoder.num_encoded >= hang_at:
        print(json.dumps({"hangs": True}), flush=True)
        threading.Event().wait()  # until killed, with claims held and renewed

encoder._on_page = on_page
# Patient, whatever else this machine does: here claims are tested, not judged by their cost.
settings = FeatureSettings(
    break_even=False, timeout_s=600, transfer_timeout_s=600, claim_lease_s=10,
    claim_patience_s=3600, audit_share=0.0,
)
cache = FeatureCache(encoder, settings, CacheStore.connect(url, prefix="t"))
cache.start()
print("ready", flush=True)
sys.stdin.readline()

def job(_):
    batch = cache.get([fake_request(number) for number in range(num_pages)])
    right = all(
        torch.equal(encoder.features(fake_page(number)), one)
        for number, one in enumerate(batch.features)
    )
    return right, batch.num_encoded, batch.num_reused

with ThreadPoolExecutor(num_jobs) as pool:
    jobs = list(pool.map(job, range(num_jobs)))
cache.flush()
print(json.dumps({
    "right": all(right for right, _, _ in jobs),
    "jobs": len(jobs),
    "receipts_encoded": sum(encoded for _, encoded, _ in jobs),
    "receipts_reused": sum(reused for _, _, reused in jobs),
    "encoded": encoder.num_encoded,
    "events": dict(cache.stats().events),
}), flush=True)
sys.stdin.readline()
cache.stop()
"""


class Worker:
    def __init__(self, url: str, *, jobs: int, ms_per_page: int = 20, hang_at: int = 0) -> None:
        args = [url, str(jobs), str(NUM_PAGES), str(ms_per_page), str(hang_at)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        return json.loads(line) if line.startswith("{") else line


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, url: str, num_jobs: list[int], **kwargs: Any) -> list[Worker]:
    workers = [stack.enter_context(Worker(url, jobs=jobs, **kwargs)) for jobs in num_jobs]
    assert [worker.hear() for worker in workers] == ["ready"] * len(workers)
    return workers


def test_fifty_jobs_on_three_workers_encode_each_page_once(
    cache_url: str, stack: ExitStack
) -> None:
    workers = start(stack, cache_url, [17, 17, 16])

    for worker in workers:
        worker.tell()
    told = [worker.hear() for worker in workers]

    assert all(one["right"] for one in told)
    assert sum(one["jobs"] for one in told) == 50
    assert sum(one["encoded"] for one in told) == NUM_PAGES, told
    assert sum(one["receipts_encoded"] for one in told) == NUM_PAGES
    reused = sum(one["receipts_reused"] for one in told)
    assert reused + NUM_PAGES == 50 * NUM_PAGES


def test_a_claimant_killed_in_mid_encode_strands_no_job(cache_url: str, stack: ExitStack) -> None:
    [doomed] = start(stack, cache_url, [10], hang_at=3)
    others = start(stack, cache_url, [20, 20])
    doomed.tell()
    assert doomed.hear() == {"hangs": True}
    with redis.Redis.from_url(cache_url) as client:
        assert list(client.scan_iter(match="t:feature-claim:*"))

    for other in others:
        other.tell()
    doomed.process.kill()
    told = [other.hear() for other in others]

    # By the claims' lease: patience with the dead one's would last an hour.
    assert all(one["right"] and one["jobs"] == 20 for one in told)
    # What the dead one had published is not encoded again, and nothing twice.
    assert sum(one["encoded"] for one in told) <= NUM_PAGES
    with redis.Redis.from_url(cache_url) as client:
        assert len(list(client.scan_iter(match="t:feature:*"))) == NUM_PAGES


def test_workers_share_out_a_long_new_document(cache_url: str, stack: ExitStack) -> None:
    global NUM_PAGES
    before, NUM_PAGES = NUM_PAGES, 150
    try:
        workers = start(stack, cache_url, [1, 1])
        for worker in workers:
            worker.tell()
        told = [worker.hear() for worker in workers]
    finally:
        NUM_PAGES = before

    assert all(one["right"] for one in told)
    assert sum(one["encoded"] for one in told) == 150, told
    assert min(one["encoded"] for one in told) > 15, told
