"""Our own engine: reader, feature cache and engine of one process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from glyph_worker.backends.backend import Answered, Check, OnFatal, OnProgress
from glyph_worker.engine.engine import Engine
from glyph_worker.engine.sequence import AnswerRequest, Deliver
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.features.types import FeatureStore, PageRequest
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.memory_plan import feature_bytes, wants_int8
from glyph_worker.model.processor import ProcessorConfig
from glyph_worker.model.prompt import Prompt
from glyph_worker.render.choose import checkpoint_folder
from glyph_worker.settings import Settings


class OwnBackend:
    name = "own"
    lacks: frozenset[str] = frozenset()

    def __init__(
        self, settings: Settings, cache: FeatureStore | None, *, on_fatal: OnFatal
    ) -> None:
        """Load and start all three. Raises ModelUnusable."""
        folder = checkpoint_folder(settings.model)
        self.reader = load_reader(
            folder,
            device=settings.device,
            dtype=settings.dtype,
            int8=wants_int8(folder, settings.device, settings.engine, settings.features),
            threads=settings.engine.threads,
        )
        self.features = FeatureCache(self.reader, settings.features, cache)
        token_bytes = self.reader.feature_width * self.reader.dtype.itemsize
        self.engine = Engine(
            self.reader,
            settings.engine,
            on_fatal=on_fatal,
            feature_bytes=feature_bytes(token_bytes, settings.engine, settings.features),
        )
        self.features.start()
        self.engine.start()

    @property
    def how(self) -> str:
        return self.engine.core.backend.name

    @property
    def refusals(self) -> list[str]:
        return [str(refusal) for refusal in self.engine.refusals]

    @property
    def model(self) -> str:
        return self.reader.identity[:12]

    @property
    def device(self) -> str:
        return str(self.reader.device)

    @property
    def recipe(self) -> FeatureRecipe:
        return self.features.recipe

    @property
    def prompt(self) -> Prompt:
        return self.reader.prompt

    @property
    def processor(self) -> ProcessorConfig:
        return self.reader.processor

    @property
    def max_tokens(self) -> int:
        return self.engine.core.entry.max_tokens

    @property
    def pool_tokens(self) -> int:
        return self.engine.core.entry.pool_tokens

    @property
    def tells_where_it_looks(self) -> bool:
        return True

    @property
    def device_uuid(self) -> str:
        return self.engine.stats().device_uuid

    def answer(
        self,
        request: AnswerRequest,
        pages: Sequence[PageRequest],
        *,
        salt: str,
        on_progress: OnProgress,
        check: Check,
    ) -> Answered:
        num_encoded = 0

        def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
            """Features of pages whose KV is not resident, in the caller's own thread."""
            nonlocal num_encoded
            batch = self.features.get(
                [pages[index] for index in indexes],
                salt=salt,
                progress=lambda _, __: check(),
                landed=deliver,
            )
            num_encoded += batch.num_encoded

        result = self.engine.answer(request, fetch=fetch, on_progress=on_progress)
        return Answered(result=result, pages_encoded=num_encoded)

    def cancel(self, sequence_id: str) -> bool:
        return self.engine.cancel(sequence_id)

    def stats(self) -> dict[str, float]:
        values = dataclasses.asdict(self.engine.stats())
        return {name: float(v) for name, v in values.items() if isinstance(v, (int, float))}

    def stop(self) -> None:
        self.engine.stop()
        self.features.stop()
        if self.reader.device.type == "cpu":
            self.reader.cores.give_back()
