"""One contract over every feature store: in memory, and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from memory_store import MemoryStore
from pydantic import SecretStr
from waiting import wait_until

from glyph_worker.document import digest
from glyph_worker.errors import StoreDenied, StoreUnavailable
from glyph_worker.features.types import FeatureStore
from glyph_worker.setting_sections import FeatureSettings
from glyph_worker.settings import Settings
from glyph_worker.store.features import CacheStore
from glyph_worker.store.open import Stores

A, B, C = (digest("feature", name) for name in "abc")


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[FeatureStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    made = CacheStore.connect(request.getfixturevalue("cache_url"), prefix="t", chunk_bytes=1024)
    yield made
    made.close()


def put(store: FeatureStore, name: str, value: bytes, token: str = "") -> str:
    return store.publish(name, [value[:3], memoryview(value)[3:]], token=token, ttl_s=60)


def claim(
    store: FeatureStore, owner: str, *names: str, lease_s: float = 30, limit: int = 99
) -> Any:
    return store.claim(names, owner=owner, lease_s=lease_s, limit=limit)


def test_a_missing_value_is_none(store: FeatureStore) -> None:
    assert store.fetch([A, B]) == [None, None]
    assert store.stored([A, B]) == [False, False]
    assert store.fetch([]) == []
    assert store.claim([], owner="x", lease_s=1, limit=1) == []


@pytest.mark.parametrize("size", [1, 1024, 1025, 300_000])
def test_values_come_back_in_order(store: FeatureStore, size: int) -> None:
    value = bytes(range(256)) * (size // 256 + 1)

    assert put(store, A, value[:size]) == "stored"
    assert put(store, B, b"other") == "stored"

    assert store.fetch([B, C, A]) == [b"other", None, value[:size]]
    assert sorted(store.digests()) == sorted([A, B])


def test_only_the_first_to_ask_may_encode(store: FeatureStore) -> None:
    [(state, token)] = claim(store, "one", A)
    assert state == "claimed"
    assert claim(store, "two", A) == [("held", token)]


def test_claims_are_granted_up_to_the_limit_in_order(store: FeatureStore) -> None:
    assert [state for state, _ in claim(store, "one", A, B, C, limit=2)] == [
        "claimed",
        "claimed",
        "free",
    ]


def test_a_published_page_ends_its_claim(store: FeatureStore) -> None:
    [(_, token)] = claim(store, "one", A)

    assert put(store, A, b"features", token) == "stored"

    assert claim(store, "two", A) == [("stored", "")]
    assert store.renew([(A, token)], lease_s=30) == [False]


def test_a_claim_given_up_is_free_at_once(store: FeatureStore) -> None:
    [(_, token)] = claim(store, "one", A)

    assert store.renew([(A, token)], lease_s=0) == [True]

    assert claim(store, "two", A)[0][0] == "claimed"


def test_a_claim_that_is_not_renewed_is_taken_over(store: FeatureStore) -> None:
    claim(store, "one", A, lease_s=0.05)
    wait_until(
        lambda: claim(store, "two", A)[0][0] != "held", description="the claim is taken over"
    )


def test_a_claim_that_was_taken_over_can_neither_publish_nor_renew(store: FeatureStore) -> None:
    [(_, old)] = claim(store, "one", A)
    store.renew([(A, old)], lease_s=0)
    [(_, new)] = claim(store, "two", A)

    assert put(store, A, b"late", old) == "fenced"
    assert store.renew([(A, old)], lease_s=30) == [False]
    assert store.fetch([A]) == [None]
    assert put(store, A, b"right", new) == "stored"
    assert store.fetch([A]) == [b"right"]


def test_publishing_without_a_claim_yields_to_a_claimant(store: FeatureStore) -> None:
    claim(store, "one", A)
    assert put(store, A, b"x") == "fenced"
    assert put(store, B, b"y") == "stored"


def test_an_expired_claim_may_publish_while_nobody_else_has_it(store: FeatureStore) -> None:
    [(_, token)] = claim(store, "one", A)
    store.renew([(A, token)], lease_s=0)
    assert put(store, A, b"late but first", token) == "stored"


def test_ones_own_lost_claim_is_taken_again_and_fences_the_first(store: FeatureStore) -> None:
    [(_, first)] = claim(store, "one", A)
    [(state, second)] = claim(store, "one", A)
    assert state == "claimed"
    assert second != first
    assert put(store, A, b"x", first) == "fenced"


def test_quarantine_drops_the_value_and_keeps_others_out(store: FeatureStore) -> None:
    put(store, A, b"wrong")

    store.quarantine(A, "drift", ttl_s=60)

    assert store.fetch([A]) == [None]
    assert claim(store, "one", A) == [("quarantined", "")]
    assert put(store, A, b"again") == "quarantined"


def test_dropped_and_cleared_values_are_gone(store: FeatureStore) -> None:
    put(store, A, b"a")
    put(store, B, b"b")
    assert store.drop([A, C]) == 1
    assert store.stored([A, B]) == [False, True]
    assert store.clear() >= 1
    assert list(store.digests()) == []
    assert store.drop([]) == 0


def test_recipes_and_reports_are_told_to_all(store: FeatureStore) -> None:
    store.announce(b"recipe")
    store.announce(b"recipe")
    store.announce(b"other")
    store.report("w1", b"stats")

    assert sorted(store.recipes()) == [b"other", b"recipe"]
    assert store.reports() == {"w1": b"stats"}


def test_a_probe_comes_back_as_it_was(store: FeatureStore) -> None:
    assert store.get_probe("w1") is None
    store.put_probe("w1", bytes(1000))
    assert store.get_probe("w1") == bytes(1000)
    assert list(store.digests()) == []


def test_sizes_and_memory_are_known(store: FeatureStore) -> None:
    put(store, A, b"abc")
    assert store.sizes([A, B]) == [3, 0]
    assert store.memory()["used_memory"] > 0
    store.ping()


# What only the server has.


def test_a_chunked_value_with_a_chunk_evicted_is_a_miss(cache_url: str) -> None:
    store = CacheStore.connect(cache_url, prefix="t", chunk_bytes=1024)
    put(store, A, b"x" * 5000)
    with redis.Redis.from_url(cache_url) as client:
        client.delete(next(client.scan_iter(match="t:feature-part:*:2")))

    assert store.fetch([A]) == [None]
    store.close()


def test_a_fenced_publish_leaves_no_chunk_behind(cache_url: str) -> None:
    store = CacheStore.connect(cache_url, prefix="t", chunk_bytes=1024)
    claim(store, "one", A)
    put(store, A, b"x" * 5000, "stale")
    with redis.Redis.from_url(cache_url) as client:
        assert [key.decode() for key in client.scan_iter()] == [f"t:feature-claim:{A}"]
    store.close()


def test_a_worker_s_store_follows_its_settings(cache_url: str) -> None:
    settings = Settings(
        broker_url=SecretStr(cache_url), key_prefix="t", features=FeatureSettings(chunk_bytes=1024)
    )
    store = Stores.open(settings).cache
    put(store, A, b"x" * 5000)
    with redis.Redis.from_url(cache_url) as client:
        assert len(list(client.scan_iter(match="t:feature-part:*"))) == 4
    assert store.fetch([A]) == [b"x" * 5000]
    store.close()


def test_other_prefixes_are_not_touched(cache_url: str) -> None:
    ours, theirs = (CacheStore.connect(cache_url, prefix=name) for name in ("t", "u"))
    put(ours, A, b"ours")
    put(theirs, A, b"theirs")
    ours.clear()
    assert theirs.fetch([A]) == [b"theirs"]
    ours.close()
    theirs.close()


def test_a_server_that_is_not_there_is_named() -> None:
    store = CacheStore.connect("redis://127.0.0.1:1/0", prefix="t", timeout_s=0.2)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.fetch([A])


def test_a_wrong_password_is_denied_and_not_shown(redis_server: Any) -> None:
    url = redis_server.url(2).replace("//", "//nobody:secret@")
    store = CacheStore.connect(url, prefix="t")
    with pytest.raises(StoreDenied) as caught:
        store.ping()
    assert "secret" not in str(caught.value)
    store.close()
