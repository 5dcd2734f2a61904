"""The cache around a real vision tower and a real server: cached equals fresh, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic.checkpoints import write_checkpoint

from glyph_worker.document import digest
from glyph_worker.features import maintenance
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.types import PageEncoder, PageRequest, Source
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import FeatureSettings
from glyph_worker.store.features import CacheStore

ALWAYS = FeatureSettings(break_even=False, audit_share=0.0)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_reader(write_checkpoint(tmp_path_factory.mktemp("reader") / "tiny", "tiny"))
    torch.set_num_threads(num_threads)


def request(number: int) -> PageRequest:
    height = 112 + 28 * (number % 3)  # pages are cropped: some sizes are shared
    pixels = np.random.default_rng(number).integers(0, 256, (height, 112), dtype=np.uint8)
    return PageRequest(
        page_digest=digest("test-page", number), width=112, height=height, pixels=lambda: pixels
    )


PAGES = [request(number) for number in range(7)]


@contextmanager
def running(reader: Reader, url: str, **changes: Any) -> Iterator[FeatureCache]:
    store = CacheStore.connect(url, prefix="t")
    cache = FeatureCache(reader, ALWAYS.model_copy(update=changes), store)
    cache.start()
    try:
        yield cache
    finally:
        cache.stop()
        store.close()


def test_the_reader_is_a_page_encoder(reader: Reader) -> None:
    encoder: PageEncoder = reader
    assert encoder.num_visual_tokens(112, 112) == 16


@pytest.mark.parametrize("packing", ["raw", "packed", "int8"])
def test_a_restarted_worker_encodes_nothing_and_gets_the_same_bits(
    reader: Reader, cache_url: str, packing: str
) -> None:
    with running(reader, cache_url, packing=packing) as cache:
        fresh = cache.get(PAGES)
    with running(reader, cache_url, packing=packing) as cache:
        assert cache.wait_ready(30)
        cached = cache.get(PAGES)
        assert cache.stats().num_tower_pages == 0

    assert fresh.num_encoded == len(PAGES)
    assert cached.sources == [Source.STORE] * len(PAGES)
    for a, b in zip(fresh.features, cached.features, strict=True):
        assert torch.equal(a, b)


def test_uncached_features_equal_the_towers_own(reader: Reader, cache_url: str) -> None:
    with running(reader, cache_url, micro_batch=1) as cache:
        batch = cache.get(PAGES)
    for page, features in zip(PAGES, batch.features, strict=True):
        [expected] = reader.encode_pages([page.pixels()])
        assert torch.equal(features, expected)


def test_an_audit_takes_another_micro_batch_for_rounding_and_not_for_a_lie(
    reader: Reader, cache_url: str
) -> None:
    with running(reader, cache_url, micro_batch=8) as cache:
        cache.get(PAGES)
    with running(reader, cache_url, micro_batch=1, audit_share=1.0) as cache:
        audited = cache.get(PAGES)
        events = cache.stats().events

    assert events["audit"] == audited.num_encoded == len(PAGES)
    assert "audit_mismatch" not in events

    store = CacheStore.connect(cache_url, prefix="t")
    report = maintenance.audit_pages(reader, store, PAGES)
    assert report.clean
    assert report.worst_drift < 1e-5
    assert maintenance.audit_values(store).num_checked == len(PAGES)
    store.close()


def test_features_do_not_keep_their_micro_batch_in_memory(reader: Reader, cache_url: str) -> None:
    with running(reader, cache_url) as cache:
        for features in cache.get(PAGES).features:
            assert features.untyped_storage().nbytes() == features.nbytes


def test_another_checkpoint_shares_nothing(reader: Reader, cache_url: str, tmp_path: Path) -> None:
    other = load_reader(write_checkpoint(tmp_path / "other", "tiny", seed=1))
    with running(reader, cache_url) as cache:
        cache.get(PAGES)
    with running(other, cache_url) as cache:
        assert cache.get(PAGES).num_encoded == len(PAGES)
