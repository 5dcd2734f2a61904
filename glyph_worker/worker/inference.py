"""What one answer worker is made of: reader, feature cache, engine. Built once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from glyph_worker.engine.engine import Engine
from glyph_worker.features.cache import FeatureCache
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.memory_plan import feature_bytes, wants_int8
from glyph_worker.model.reader import Reader
from glyph_worker.render.choose import checkpoint_folder
from glyph_worker.settings import Settings
from glyph_worker.store.features import CacheStore
from glyph_worker.store.streams import StreamStore
from glyph_worker.worker.prover import Prover


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    reader: Reader
    features: FeatureCache
    engine: Engine
    prover: Prover
    streams: StreamStore | None
    """None: partial text goes nowhere."""

    @classmethod
    def start(
        cls,
        settings: Settings,
        cache: CacheStore | None,
        streams: StreamStore | None,
        *,
        on_fatal: Callable[[BaseException], None],
    ) -> Self:
        """Load and start all three. Raises ModelUnusable."""
        folder = checkpoint_folder(settings.model)
        reader = load_reader(
            folder,
            device=settings.device,
            dtype=settings.dtype,
            int8=wants_int8(folder, settings.device, settings.engine, settings.features),
            threads=settings.engine.threads,
        )
        prover = Prover(folder)
        features = FeatureCache(reader, settings.features, cache)
        token_bytes = reader.feature_width * reader.dtype.itemsize
        engine = Engine(
            reader,
            settings.engine,
            on_fatal=on_fatal,
            feature_bytes=feature_bytes(token_bytes, settings.engine, settings.features),
        )
        features.start()
        engine.start()
        return cls(reader=reader, features=features, engine=engine, prover=prover, streams=streams)

    def stop(self) -> None:
        self.engine.stop()
        self.features.stop()
        if self.reader.device.type == "cpu":
            self.reader.cores.give_back()
