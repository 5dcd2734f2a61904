"""What an operator does to the cache: look, audit, clear, warm. One call each, for the CLI.

Unlike the workers' own use, these raise StoreUnavailable when the cache server is down.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from glyph_worker import codec
from glyph_worker.features import wire
from glyph_worker.features.audit import drift, tolerance
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.digest import SHARED, FeatureRecipe
from glyph_worker.features.types import (
    FeatureStore,
    PageEncoder,
    PageRequest,
    Source,
    token_width,
)

BATCH = 64

Tell = Callable[[int], None]
"""Told how many more pages are done, for a progress bar."""


def _silent(_: int) -> None:
    return


@dataclass(frozen=True, kw_only=True)
class CacheReport:
    """`glyph-worker cache stats`."""

    num_features: int
    """Pages whose features are on the cache server."""
    num_bytes: int
    """Their values' bytes (of chunked ones the head's)."""
    server: dict[str, Any]
    """used_memory, maxmemory, maxmemory_policy, evicted_keys."""
    num_recipes: int
    """Different ways in which live answer workers name features; more than one: mixed versions."""
    workers: dict[str, dict[str, Any]]
    """Counters of each live answer worker, by owner; the fields of FeatureStats."""


def stats(store: FeatureStore) -> CacheReport:
    num_features = num_bytes = 0
    digests = iter(store.digests())
    while some := list(islice(digests, 1_000)):
        num_features += len(some)
        num_bytes += sum(store.sizes(some))
    workers = {}
    for owner, raw in store.reports().items():
        workers[owner] = codec.unpack("feature_stats", raw)
    return CacheReport(
        num_features=num_features,
        num_bytes=num_bytes,
        server=store.memory(),
        num_recipes=len(store.recipes()),
        workers=workers,
    )


@dataclass(kw_only=True)
class AuditReport:
    """`glyph-worker cache audit`."""

    num_checked: int = 0
    """Values read whole and found to be what their digest, shape and checksum say."""
    num_missing: int = 0
    """Evicted while we looked, or, for an audit of a document, never stored."""
    damaged: Counter[str] = field(default_factory=Counter)
    """Values dropped, by the check that failed."""
    num_mismatched: int = 0
    """Values that are whole but not what the tower computes; quarantined."""
    worst_drift: float = 0.0
    """Largest relative error met in an audit of a document; up to `tolerance` it is rounding."""

    @property
    def clean(self) -> bool:
        return not self.damaged and not self.num_mismatched


def audit_values(store: FeatureStore, *, tell: Tell = _silent) -> AuditReport:
    """Read every value on the server and drop the damaged ones. Needs no model."""
    report = AuditReport()
    digests = iter(store.digests())
    while some := list(islice(digests, BATCH)):
        for digest, value in zip(some, store.fetch(some), strict=True):
            if value is None:
                report.num_missing += 1
                continue
            try:
                wire.inspect(digest, value)
            except wire.Damaged as exc:
                report.damaged[exc.check] += 1
                store.drop([digest])
            else:
                report.num_checked += 1
        tell(len(some))
    return report


def audit_pages(
    encoder: PageEncoder,
    store: FeatureStore,
    pages: Iterable[PageRequest],
    *,
    packing: wire.Form = "raw",
    salt: str = SHARED,
    quarantine_s: int = 3_600,
    tell: Tell = _silent,
) -> AuditReport:
    """Compute these pages afresh and compare with what is stored; quarantine what differs."""
    report = AuditReport()
    recipe = FeatureRecipe.of(encoder, packing=packing).salted(salt)
    for page in pages:
        digest = recipe.feature_digest(page.page_digest)
        shape = (encoder.num_visual_tokens(page.width, page.height), token_width(encoder))
        num_tensors = encoder.num_feature_tensors
        [value] = store.fetch([digest])
        tell(1)
        if value is None:
            report.num_missing += 1
            continue
        try:
            stored = wire.decode(
                digest, value, shape=shape, dtype=encoder.dtype, num_tensors=num_tensors
            )
        except wire.Damaged as exc:
            report.damaged[exc.check] += 1
            store.drop([digest])
            continue
        with torch.no_grad():
            [fresh] = encoder.encode_pages([page.pixels()])
        limit = tolerance(encoder.dtype)
        if packing == "int8":
            limit += wire.one_level(fresh, num_tensors)
            fresh = wire.rounded(fresh, num_tensors)
        found = drift(fresh, stored)
        report.worst_drift = max(report.worst_drift, found)
        if found > limit:
            report.num_mismatched += 1
            store.quarantine(digest, f"drift {found:.3g}", ttl_s=quarantine_s)
        else:
            report.num_checked += 1
    return report


def clear(store: FeatureStore) -> int:
    """Delete all features, claims, quarantines and page images. Returns how many keys."""
    return store.clear()


@dataclass(frozen=True, kw_only=True)
class WarmReport:
    """`glyph-worker cache warm FILE`."""

    num_pages: int
    num_encoded: int
    num_reused: int
    published: bool
    """Whether all that was encoded is on the cache server now."""


def warm(
    cache: FeatureCache,
    pages: Sequence[PageRequest],
    *,
    salt: str = SHARED,
    flush_s: float = 60.0,
    tell: Tell = _silent,
) -> WarmReport:
    """Encode and publish these pages before the first question comes.

    `cache` must be started, with `break_even` off, or it may find publishing not worth it.
    Raises what FeatureCache.get raises.
    """
    sources: Counter[Source] = Counter()
    remaining = iter(pages)
    while some := list(islice(remaining, BATCH)):
        sources.update(cache.get(some, salt=salt).sources)
        tell(len(some))
    flushed = cache.flush(flush_s)
    skipped = cache.stats().events.get("publish_skipped", 0)
    return WarmReport(
        num_pages=sources.total(),
        num_encoded=sources[Source.ENCODED],
        num_reused=sources.total() - sources[Source.ENCODED],
        published=flushed and not skipped and cache.stats().store_up,
    )
