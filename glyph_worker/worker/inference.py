"""What one answer worker is made of: a backend that answers, a prover. Built once per process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from glyph_worker.backends.backend import Backend
from glyph_worker.backends.choose import start_backend
from glyph_worker.render.choose import checkpoint_folder
from glyph_worker.settings import Settings
from glyph_worker.store.features import CacheStore
from glyph_worker.store.streams import StreamStore
from glyph_worker.worker.prover import Prover
from glyph_worker.worker.reach import stated


@dataclass(frozen=True, kw_only=True, slots=True)
class Inference:
    backend: Backend
    prover: Prover
    streams: StreamStore | None
    """None: partial text goes nowhere."""
    told: bool = True
    """Whether the reader is told documents' names: one that weighs no evidence knows questions
    alone."""

    @classmethod
    def start(
        cls,
        settings: Settings,
        cache: CacheStore | None,
        streams: StreamStore | None,
        *,
        on_fatal: Callable[[BaseException], None],
    ) -> Self:
        """Load and start. Raises ModelUnusable, InvalidSetting, MissingExtra."""
        folder = checkpoint_folder(settings.model)
        prover = Prover(folder)
        backend = start_backend(settings, cache, on_fatal=on_fatal)
        told = bool(stated(folder).get("weighs_evidence", True))
        return cls(backend=backend, prover=prover, streams=streams, told=told)

    def stop(self) -> None:
        self.backend.stop()
