"""Jobs a second through the whole service, with the literal guard and without it, side by side.

In pairs of rounds, each side first in turn. Both ask the same questions about the same documents,
all at once, so that no worker idles; a line of the round's own begins and ends each document, so
that nothing of it is known from the round before.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import psutil

from bench.answers_reader import Document, made
from bench.served import Served
from glyph_worker.settings import Settings

SIDES = ("check", "off")


def served(folder: Path, seed: str, *, pairs: int, documents: int) -> dict[str, Any]:
    """How much longer the guard's side took, per cent, of time and of the workers' processor time:
    the median of the pairs, with all of them beside it. Both may be below 0 on a busy machine; what
    receipts say of the guard's own milliseconds stands beside them."""
    settings = Settings.load(environ={"GLYPH_DEVICE": "cpu"})
    with Served(settings, folder) as service:
        _round(service, list(made(f"served {seed} first", 1)), "check", "warm")
        spent: list[dict[str, tuple[float, float, float]]] = []
        for number in range(pairs):
            asked = list(made(f"served {seed} {number}", documents))
            order = SIDES if number % 2 else SIDES[::-1]
            spent.append({side: _round(service, asked, side, f"{number}") for side in order})
    num_jobs = sum(len(document.questions) for document in asked)
    wall, processor = (
        [round(100 * (pair["check"][at] / pair["off"][at] - 1), 2) for pair in spent]
        for at in (0, 1)
    )
    return {
        "share_of_jobs": round(statistics.median(wall), 2),
        "share_of_processor_time": round(statistics.median(processor), 2),
        "jobs_per_s": {
            side: round(statistics.median(num_jobs / pair[side][0] for pair in spent), 2)
            for side in SIDES
        },
        "pairs": {"time": wall, "processor_time": processor},
        "jobs_a_round": num_jobs,
        "guard_ms_a_job": round(statistics.mean(pair["check"][2] for pair in spent) / num_jobs, 2),
    }


def _round(
    service: Served, documents: list[Document], side: str, name: str
) -> tuple[float, float, float]:
    """For all the questions: seconds, the workers' processor seconds, the guard's milliseconds."""
    mark = f"Round {name} {side:5}"
    before, began = _processor_s(service), time.monotonic()
    jobs = [
        job
        for document in documents
        for job in service.client.submit_many(
            f"{mark}\n{document.text}\n{mark}\n",
            [question for question, _ in document.questions],
            max_new_tokens=100,
            literals="check" if side == "check" else "off",
        )
    ]
    answers = [service.client.wait(job.id, timeout=600) for job in jobs]
    wall_s, processor_s = time.monotonic() - began, _processor_s(service) - before
    return wall_s, processor_s, sum(answer.receipt.guard_ms for answer in answers)


def _processor_s(service: Served) -> float:
    total = 0.0
    for worker in service.crew.workers:
        own = psutil.Process(worker.process.pid)
        for process in (own, *own.children(recursive=True)):
            times = process.cpu_times()
            total += times.user + times.system
    return total
