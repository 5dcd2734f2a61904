"""A user's own Celery app against our service: results compared, a chord under two kills."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from celery import chord
from celery.result import AsyncResult

from bench.machine import ROOT
from bench.served import Served, until
from glyph_worker.job import Answer
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.settings import Settings

DOCUMENT = "Orchid GmbH pays 1,204.50 EUR on 2026-12-01.\n" * 10
KILLED_AFTER = {"answer": 0.1, "render": 0.4}
"""Worker, and the share of the chord's asks that have ended when it is killed."""


def celery_figures(
    folder: Path, settings: Settings, *, num_results: int, num_asks: int
) -> dict[str, Any]:
    with Served(settings, folder) as served, EmbeddedServer(folder / "shop") as server:
        environ = served.environ | {
            "SHOP_NAME": "shop", "SHOP_BROKER_URL": server.url(0), "SHOP_RESULT_URL": server.url(1),
            "PYTHONPATH": str(ROOT / "tests"), "C_FORCE_ROOT": "1",
        }  # fmt: skip
        os.environ.update(environ)
        sys.path.insert(0, str(ROOT / "tests"))
        shop = importlib.import_module("shop")
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop", "worker", "-P", "threads", "-c", "4",
             "-l", "error"],
            env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            return _results(served, shop, num_results) | _chord(served, shop, num_asks)
        finally:
            worker.terminate()
            worker.wait(timeout=60)


def _results(served: Served, shop: Any, count: int) -> dict[str, Any]:
    questions = [f"Who is number {n}?" for n in range(count)]
    jobs = served.client.submit_many(DOCUMENT, questions, max_new_tokens=4)
    began = time.monotonic()
    equal = sum(
        Answer.from_fields(AsyncResult(job.id, app=shop.app).get(timeout=600))
        == served.client.result(job.id)
        for job in jobs
    )
    return {"results_equal": equal, "results_s": round(time.monotonic() - began, 1)}


def _chord(served: Served, shop: Any, count: int) -> dict[str, Any]:
    asks = [shop.glyph.ask(DOCUMENT, f"What is {n}?", max_new_tokens=12) for n in range(count)]
    result = chord(asks)(shop.collect.s())
    killed = []
    for kind, share in KILLED_AFTER.items():
        least = max(1, int(share * count))
        until(lambda least=least: _ended(result) >= least, "some asks have ended")  # type: ignore[misc]
        next(one for one in served.crew.workers if one.kind == kind).kill()
        served.crew.revive()
        killed.append(kind)
    texts = result.get(timeout=600)
    right = [served.client.wait(one.id, timeout=60).text for one in result.parent]
    answered = sum(text == other for text, other in zip(texts, right, strict=True))
    import redis

    with redis.Redis.from_url(shop.RESULTS) as client:
        fired = client.lrange("celery-ran:collect", 0, -1)
    return {"asks_answered": answered, "chord_fired": len(fired), "kills": killed}


def _ended(result: Any) -> int:
    return sum(one.ready() for one in result.parent)
