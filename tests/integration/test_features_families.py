"""Workers of several families on one cache server: each has its own, none reads another's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from family_checks import FAMILIES
from synthetic.families import write_family

from glyph_worker.document import digest
from glyph_worker.features import maintenance
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.types import PageRequest, Source
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import FeatureSettings
from glyph_worker.store.features import CacheStore


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Reader]]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("families")
    yield [load_reader(write_family(family, place / family)) for family in FAMILIES]
    torch.set_num_threads(num_threads)


def request(number: int) -> PageRequest:
    """A page that every family sees as it is: 224 is a multiple of 28 and of 32."""
    pixels = np.random.default_rng(number).integers(0, 256, (224, 224), dtype=np.uint8)
    return PageRequest(
        page_digest=digest("test-page", number), width=224, height=224, pixels=lambda: pixels
    )


PAGES = [request(number) for number in range(3)]


@contextmanager
def running(reader: Reader, url: str, packing: str) -> Iterator[FeatureCache]:
    store = CacheStore.connect(url, prefix="t")
    always = FeatureSettings(break_even=False, audit_share=0.0)
    cache = FeatureCache(reader, always.model_copy(update={"packing": packing}), store)
    cache.start()
    try:
        yield cache
    finally:
        cache.stop()
        store.close()


@pytest.mark.parametrize("packing", ["raw", "int8"])
def test_families_on_one_server_share_no_feature_and_find_their_own_again(
    readers: list[Reader], cache_url: str, packing: str
) -> None:
    fresh = []
    for reader in readers:
        with running(reader, cache_url, packing) as cache:
            batch = cache.get(PAGES)
            assert batch.num_encoded == len(PAGES), "another family's were taken"
            fresh.append(batch.features)
    for reader, expected in zip(readers, fresh, strict=True):
        with running(reader, cache_url, packing) as cache:
            assert cache.wait_ready(60)
            again = cache.get(PAGES)
        assert again.sources == [Source.STORE] * len(PAGES)
        for one, other in zip(again.features, expected, strict=True):
            assert one.shape[1] == reader.feature_width
            assert torch.equal(one, other)
        store = CacheStore.connect(cache_url, prefix="t")
        report = maintenance.audit_pages(reader, store, PAGES, packing=packing)  # type: ignore[arg-type]
        assert report.clean
        store.close()
    store = CacheStore.connect(cache_url, prefix="t")
    assert maintenance.audit_values(store).num_checked == len(PAGES) * len(readers)
    store.close()
