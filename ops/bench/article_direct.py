"""Our engine without the service, as vLLM's `LLM.generate` is fed: pages drawn beforehand, all jobs
of a mix handed in at once, nothing queued, recorded or polled."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from bench.article_pages import Drawn, draw
from bench.article_rows import WARM_UP
from bench.machine import forget_peak, peak_bytes, resident_bytes

Answers = list[tuple[str, float]]
"""Text and time of its end, job by job."""


class Direct:
    """Reader, feature cache and engine of one answer worker, caches empty."""

    def __init__(self, order: dict[str, Any]) -> None:
        from glyph_worker.backends.own import OwnBackend
        from glyph_worker.settings import Settings

        self._answer_tokens = order["tokens"]
        settings = Settings.load(model=order["model"], device="cpu")
        self._backend = OwnBackend(settings, None, on_fatal=lambda exc: os._exit(70))
        self._backend.features.wait_ready(timeout_s=60)

    def stop(self) -> None:
        self._backend.stop()

    def answer(self, jobs: Sequence[tuple[list[Drawn], str]]) -> Answers:
        """All of them at once, one thread each."""
        answers: Answers = [("", 0.0)] * len(jobs)

        def run(number: int) -> None:
            text = self._ask(f"job-{number}", *jobs[number])
            answers[number] = text, time.perf_counter()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def _ask(self, name: str, pages: list[Drawn], question: str) -> str:
        from glyph_worker.engine.engine import AnswerRequest, Deliver, PageInput
        from glyph_worker.features.types import PageRequest

        features, engine = self._backend.features, self._backend.engine
        sizes = [(page.pixels.shape[1], page.pixels.shape[0]) for page in pages]

        def request(index: int) -> PageRequest:
            page, (width, height) = pages[index], sizes[index]
            return PageRequest(
                page_digest=page.digest, width=width, height=height, pixels=lambda: page.pixels
            )

        def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
            features.get([request(index) for index in indexes], landed=deliver)

        inputs = tuple(
            PageInput(digest=features.recipe.feature_digest(page.digest), width=w, height=h)
            for page, (w, h) in zip(pages, sizes, strict=True)
        )
        asked = AnswerRequest(
            sequence_id=name, pages=inputs, question=question, max_new_tokens=self._answer_tokens
        )
        return engine.answer(asked, fetch=fetch).text


def measure_direct(order: dict[str, Any], jobs: dict[str, list[tuple[str, str]]]) -> dict[str, Any]:
    """Per mix: answers, latencies, seconds and memory, caches empty at its beginning."""
    os.environ.update(order["settings"])
    me, found = os.getpid(), {}
    for name, pairs in {"warm-up": [(WARM_UP, "ready?")], **jobs}.items():
        direct = Direct(order)
        drawn = {document: draw(document, order["style"]) for document, _ in pairs}
        ready = resident_bytes(me)
        forget_peak(me)
        began = time.perf_counter()
        done = direct.answer([(drawn[document], question) for document, question in pairs])
        wall_s = time.perf_counter() - began
        direct.stop()
        del direct
        gc.collect()  # its weights, before the next is loaded
        found[name] = {
            "answers": [text for text, _ in done], "wall_s": wall_s,
            "times_ms": [(ended - began) * 1e3 for _, ended in done],
            "peak": peak_bytes(me), "ready": ready,
        }  # fmt: skip
    del found["warm-up"]
    return found
