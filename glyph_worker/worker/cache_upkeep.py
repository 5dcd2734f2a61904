"""What an operator does to the cache server, from the settings: look, audit, clear, warm."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from glyph_worker.document import Document
from glyph_worker.features import maintenance
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.types import PageRequest
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.reader import Reader
from glyph_worker.render.choose import checkpoint_folder, resolve_style, shape_of
from glyph_worker.render.out.raster import draw
from glyph_worker.render.pictured import lay_out
from glyph_worker.settings import Settings
from glyph_worker.store.features import CacheStore
from glyph_worker.store.open import Stores
from glyph_worker.worker.page_source import salt_of

Tell = Callable[[int], None]


def stats(settings: Settings) -> maintenance.CacheReport:
    """Raises StoreUnavailable."""
    return maintenance.stats(_store(settings))


def clear(settings: Settings) -> int:
    """Raises StoreUnavailable."""
    return maintenance.clear(_store(settings))


def audit(
    settings: Settings, document: Document | None, *, tenant: str, tell: Tell
) -> maintenance.AuditReport:
    """Check every stored value, or compute a document's pages afresh and compare.

    Raises StoreUnavailable, ModelUnusable.
    """
    store = _store(settings)
    if document is None:
        return maintenance.audit_values(store, tell=tell)
    return maintenance.audit_pages(
        _reader(settings),
        store,
        _requests(settings, document),
        packing=settings.features.packing,
        salt=salt_of(settings, tenant),
        quarantine_s=settings.features.quarantine_s,
        tell=tell,
    )


def warm(
    settings: Settings, document: Document, *, tenant: str, tell: Tell
) -> maintenance.WarmReport:
    """Draw, encode and publish a document's pages before its first question.

    Raises StoreUnavailable, ModelUnusable, UnreadableDocument.
    """
    store = _store(settings)
    store.ping()
    # To warm is to publish, whether or not the link is fast enough to be worth it just now.
    eager = settings.features.model_copy(update={"break_even": False})
    cache = FeatureCache(_reader(settings), eager, store)
    cache.start()
    try:
        return maintenance.warm(
            cache, _requests(settings, document), salt=salt_of(settings, tenant), tell=tell
        )
    finally:
        cache.stop()


def _store(settings: Settings) -> CacheStore:
    return Stores.open(settings).cache


def _reader(settings: Settings) -> Reader:
    folder = checkpoint_folder(settings.model)
    return load_reader(folder, device=settings.device, dtype=settings.dtype)


def _requests(settings: Settings, document: Document) -> list[PageRequest]:
    pages = lay_out(document, resolve_style(settings, "auto"), shape_of(settings))
    return [
        PageRequest(
            page_digest=laid.page.digest,
            width=laid.page.width,
            height=laid.page.height,
            pixels=partial(draw, laid),
        )
        for laid in pages
    ]
