"""Known pages, and what the operator does: stats, audit, clear, warm. No server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from made_up import FakeEncoder, fake_page, fake_request
from memory_store import MemoryStore

from glyph_worker.errors import StoreUnavailable
from glyph_worker.features import maintenance, wire
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.known_pages import KnownPages
from glyph_worker.setting_sections import FeatureSettings

ALWAYS = FeatureSettings(break_even=False, audit_share=0.0)
PAGES = [fake_request(number) for number in range(5)]
DIGESTS = [page.page_digest for page in PAGES]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def cache(store: MemoryStore) -> Iterator[FeatureCache]:
    cache = FeatureCache(FakeEncoder(), ALWAYS, store)
    cache.start()
    yield cache
    cache.stop()


def test_no_page_is_known_while_no_answer_worker_lives(store: MemoryStore) -> None:
    assert KnownPages(store).known(DIGESTS) == [False] * 5
    assert KnownPages(store).known([]) == []


def test_pages_are_known_once_they_are_stored(store: MemoryStore, cache: FeatureCache) -> None:
    maintenance.warm(cache, PAGES[:3])
    store.announce(cache.recipe.to_wire())

    assert KnownPages(store).known(DIGESTS) == [True] * 3 + [False] * 2
    assert KnownPages(store).known(DIGESTS, salt="tenant") == [False] * 5
    assert cache.known(DIGESTS) == [True] * 3 + [False] * 2


def test_a_page_is_known_only_when_every_live_recipe_has_it(
    store: MemoryStore, cache: FeatureCache
) -> None:
    maintenance.warm(cache, PAGES)
    store.announce(cache.recipe.to_wire())
    other = FeatureCache(FakeEncoder(seed=2), ALWAYS, store)
    store.announce(other.recipe.to_wire())
    assert KnownPages(store).known(DIGESTS) == [False] * 5

    other.start()
    maintenance.warm(other, PAGES[:2])
    other.stop()

    assert KnownPages(store).known(DIGESTS) == [True] * 2 + [False] * 3


def test_a_recipe_we_cannot_read_makes_every_page_unknown(
    store: MemoryStore, cache: FeatureCache
) -> None:
    maintenance.warm(cache, PAGES)
    store.announce(cache.recipe.to_wire())
    store.announce(b"from a newer release")
    assert KnownPages(store).known(DIGESTS) == [False] * 5


def test_a_server_that_is_down_makes_every_page_unknown(store: MemoryStore) -> None:
    def down() -> list[bytes]:
        raise StoreUnavailable("down")

    store.recipes = down  # type: ignore[method-assign]
    assert KnownPages(store).known(DIGESTS) == [False] * 5


def test_known_pages_are_asked_without_torch() -> None:
    script = (
        "import sys; import glyph_worker.features.known_pages, glyph_worker.store.features; "
        "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_warming_publishes_before_the_first_question(
    store: MemoryStore, cache: FeatureCache
) -> None:
    first = maintenance.warm(cache, PAGES)
    again = maintenance.warm(cache, PAGES)

    assert (first.num_pages, first.num_encoded, first.published) == (5, 5, True)
    assert (again.num_pages, again.num_encoded, again.num_reused) == (5, 0, 5)
    assert len(list(store.digests())) == 5


def test_stats_tell_of_server_and_workers(store: MemoryStore, cache: FeatureCache) -> None:
    maintenance.warm(cache, PAGES)
    store.report(cache.owner, cache._report())

    report = maintenance.stats(store)

    assert report.num_features == 5
    assert report.num_bytes > 5 * 8 * 32 * 4
    assert report.server["used_memory"] == report.num_bytes
    assert report.workers[cache.owner]["sources"] == {"encoded": 5}


def test_an_audit_of_values_drops_the_damaged(store: MemoryStore, cache: FeatureCache) -> None:
    maintenance.warm(cache, PAGES)
    first, second, *_ = sorted(store.digests())
    value = store.fetch([first])[0] or b""
    store.publish(first, [value[:-1] + b"?"], token="", ttl_s=60)
    store.publish(second, [value], token="", ttl_s=60)

    report = maintenance.audit_values(store)

    assert not report.clean
    assert report.damaged == {"checksum": 1, "digest": 1}
    assert (report.num_checked, len(list(store.digests()))) == (3, 3)
    assert maintenance.audit_values(store).clean


def test_an_audit_of_pages_quarantines_what_the_tower_does_not_give(
    store: MemoryStore, cache: FeatureCache
) -> None:
    maintenance.warm(cache, PAGES[:4])
    lied = cache.recipe.feature_digest(DIGESTS[2])
    lie = wire.encode(lied, FakeEncoder().features(fake_page(9)), "raw")
    store.publish(lied, lie, token="", ttl_s=60)
    cut = cache.recipe.feature_digest(DIGESTS[3])
    store.publish(cut, [b"cut"], token="", ttl_s=60)

    report = maintenance.audit_pages(FakeEncoder(), store, PAGES)

    assert (report.num_checked, report.num_mismatched, report.num_missing) == (2, 1, 1)
    assert report.damaged.total() == 1
    assert report.worst_drift > 0.5
    assert store.claim([lied], owner="x", lease_s=1, limit=1) == [("quarantined", "")]


@pytest.mark.parametrize("packing", ["raw", "packed", "int8"])
def test_honest_values_pass_in_every_packing(store: MemoryStore, packing: wire.Form) -> None:
    settings = ALWAYS.model_copy(update={"packing": packing})
    cache = FeatureCache(FakeEncoder(dtype=torch.float16), settings, store)
    cache.start()
    maintenance.warm(cache, PAGES)
    cache.stop()

    report = maintenance.audit_pages(
        FakeEncoder(dtype=torch.float16), store, PAGES, packing=packing
    )

    assert (report.num_checked, report.worst_drift) == (5, 0.0)


def test_clearing_forgets_all(store: MemoryStore, cache: FeatureCache) -> None:
    maintenance.warm(cache, PAGES)
    assert maintenance.clear(store) == 5
    assert maintenance.stats(store).num_features == 0
