"""Parts of ops/bench/gpu that go through the real Engine, its threads, and the feature cache."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from glyph_worker.engine.dtype_groups import FALLBACK_DTYPE
from glyph_worker.engine.engine import Engine
from glyph_worker.engine.result import SequenceResult
from glyph_worker.engine.sequence import AnswerRequest, Deliver, PageInput
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.types import PageRequest
from glyph_worker.model.memory_plan import feature_bytes
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings, FeatureSettings

QUESTION_TOKENS = 150
"""Of a question with its frame and its short answer."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of a service: documents of pages of some heights, questions on each."""

    documents: int
    pages: int
    questions: int
    tokens: int
    heights: tuple[int, ...]
    width: int
    seed: int = 0

    def make(self) -> list[list[Page]]:
        """uint8 [height, width] each; heights take turns."""
        rng = np.random.default_rng(self.seed)
        return [
            [
                np.where(rng.random((height, self.width)) > 0.1, 255, 0).astype(np.uint8)
                for height in (
                    self.heights[(number + page) % len(self.heights)] for page in range(self.pages)
                )
            ]
            for number in range(self.documents)
        ]


@dataclass
class Programs:
    """Graphs, and frames that the compiler made, at one moment."""

    graphs: int = 0
    frames: int = 0

    @classmethod
    def of(cls, engine: Engine) -> Programs:
        made = sum(graphs.num_graphs for graphs in engine.core.runner.graphs.values())
        counters = torch._dynamo.utils.counters["stats"]
        return cls(graphs=made, frames=int(counters["unique_graphs"]))


@dataclass
class Service:
    """One worker's middle: engine and feature cache on one reader, as `worker.inference` has it."""

    reader: Reader
    engine_settings: EngineSettings
    feature_settings: FeatureSettings = field(
        default_factory=lambda: FeatureSettings(store=False, audit_share=0.0)
    )

    def __enter__(self) -> Service:
        self.features = FeatureCache(self.reader, self.feature_settings, None)
        token_bytes = self.reader.feature_width * self.reader.dtype.itemsize
        self.engine = Engine(
            self.reader,
            self.engine_settings,
            feature_bytes=feature_bytes(token_bytes, self.engine_settings, self.feature_settings),
        )
        self.features.start()
        self.engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.stop()
        self.features.stop()

    def answer(
        self, name: str, document: str, pages: Sequence[Page], tokens: int
    ) -> SequenceResult:
        """One question, in the caller's thread."""
        inputs = tuple(
            PageInput(digest=f"{document}/{index}", width=page.shape[1], height=page.shape[0])
            for index, page in enumerate(pages)
        )

        def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
            requests = [
                PageRequest(
                    page_digest=inputs[index].digest,
                    width=inputs[index].width,
                    height=inputs[index].height,
                    pixels=lambda index=index: pages[index],  # type: ignore[misc]
                )
                for index in indexes
            ]
            self.features.get(requests, landed=deliver)

        request = AnswerRequest(
            sequence_id=name,
            pages=inputs,
            question=f"What does line {sum(name.encode()) % 90 + 10} say?",
            max_new_tokens=tokens,
        )
        return self.engine.answer(request, fetch=fetch)

    def run(self, load: Load, *, name: str = "d") -> dict[str, Any]:
        """All questions at once, one thread each."""
        before, documents = Programs.of(self.engine), load.make()
        asked = [
            (f"{name}{number}/{question}", f"{name}{number}", pages)
            for question in range(load.questions)
            for number, pages in enumerate(documents)
        ]
        latencies: list[float] = []

        def one(job: tuple[str, str, list[Page]]) -> SequenceResult:
            begun = time.perf_counter()
            result = self.answer(*job, load.tokens)
            latencies.append(time.perf_counter() - begun)
            return result

        begun = time.perf_counter()
        with ThreadPoolExecutor(max_workers=len(asked)) as threads:
            results = list(threads.map(one, asked))
        seconds = time.perf_counter() - begun
        after, stats = Programs.of(self.engine), self.engine.stats()
        return {
            "jobs_s": round(len(asked) / seconds, 4),
            "answer_tokens_s": round(sum(len(r.token_ids) for r in results) / seconds, 1),
            "latency_s": {
                "median": round(statistics.median(latencies), 3),
                "worst": round(max(latencies), 3),
            },
            "dtypes": dict(Counter(result.dtype for result in results)),
            "captured_while_serving": after.graphs - before.graphs,
            "compiled_while_serving": after.frames - before.frames,
            "evictions": stats.evictions,
            "restores": stats.restores,
            "beyond_weights_gb": round(stats.memory_beyond_weights_bytes / 1e9, 3),
        }


# -- the parts ----------------------------------------------------------------------------------


def service(reader: Reader, settings: EngineSettings, load: Load) -> dict[str, Any]:
    """As it serves: pages of several heights, questions that share documents."""
    begun = time.perf_counter()
    with Service(reader, settings) as made:
        loaded_s = time.perf_counter() - begun
        made.answer("first", "first", load.make()[0][:1], 1)
        first_s = time.perf_counter() - begun
        found = made.run(load)
        return found | {
            "engine_start_s": round(loaded_s, 2),
            "first_answer_after_start_s": round(first_s, 2),
            "backend": made.engine.core.backend.name,
            "refusals": [str(refusal) for refusal in made.engine.refusals],
        }


def host_tier(reader: Reader, settings: EngineSettings, load: Load) -> dict[str, Any]:
    """Documents that take turns in a pool too small for all of them, with and without copies in
    host memory."""
    per_token = settings_bytes_per_token(reader)
    tokens = load.pages * (reader.num_visual_tokens(load.width, max(load.heights)) + 8)
    pool = int(per_token * (1.5 * tokens + QUESTION_TOKENS))
    out: dict[str, Any] = {}
    for name, host_bytes in (
        ("dropped", 0),
        ("host tier", 2 * load.documents * tokens * per_token),
    ):
        changed = settings.model_copy(update={"kv_bytes": pool, "kv_host_bytes": host_bytes})
        with Service(reader, changed) as made:
            documents = load.make()
            begun = time.perf_counter()
            for turn in range(3):
                for number, pages in enumerate(documents):
                    made.answer(f"{turn}/{number}", f"d{number}", pages, 2)
            stats = made.engine.stats()
            out[name] = {
                "jobs_s": round(3 * load.documents / (time.perf_counter() - begun), 4),
                "evictions": stats.evictions,
                "restores": stats.restores,
            }
    out["gain"] = round(out["host tier"]["jobs_s"] / out["dropped"]["jobs_s"], 3)
    return out


def bfloat16_group(reader: Reader, settings: EngineSettings, load: Load) -> dict[str, Any]:
    """All jobs in the group that overflowed documents run in, against the model's own."""
    out: dict[str, Any] = {}
    for name in (reader.dtype_name, FALLBACK_DTYPE):
        with Service(reader, settings) as made:
            made.engine.core.dtype_groups.of = lambda pages, name=name: name  # type: ignore[method-assign, misc]
            out[name] = made.run(load)
    if reader.dtype_name != FALLBACK_DTYPE:
        out["ratio"] = round(out[FALLBACK_DTYPE]["jobs_s"] / out[reader.dtype_name]["jobs_s"], 3)
    return out


def settings_bytes_per_token(reader: Reader) -> int:
    language = reader.language
    numbers = 2 * language.num_layers * language.num_kv_heads * language.head_dim
    return numbers * reader.dtype.itemsize
