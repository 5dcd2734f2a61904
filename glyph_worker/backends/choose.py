"""GLYPH_BACKEND becomes a backend. Each is imported when it is wanted: vLLM takes seconds."""

from __future__ import annotations

from glyph_worker.backends.backend import Backend, OnFatal
from glyph_worker.features.types import FeatureStore
from glyph_worker.settings import Settings


def start_backend(settings: Settings, cache: FeatureStore | None, *, on_fatal: OnFatal) -> Backend:
    """Load and start it. `on_fatal` is called once, when it has ended itself.

    Raises ModelUnusable, InvalidSetting, MissingExtra.
    """
    if settings.backend == "vllm":
        from glyph_worker.backends.vllm import VllmBackend

        return VllmBackend(settings, cache, on_fatal=on_fatal)
    if settings.backend == "remote":
        from glyph_worker.backends.remote import RemoteBackend

        return RemoteBackend(settings, on_fatal=on_fatal)
    from glyph_worker.backends.own import OwnBackend

    return OwnBackend(settings, cache, on_fatal=on_fatal)
