"""Whatever the cache server does, the answer is right and nothing hangs. A real server."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import torch
from chaos.link import Link
from made_up import FakeEncoder, fake_page, fake_request
from waiting import PATIENCE_S, wait_until

from glyph_worker.features import wire
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.types import FeatureBatch, Source
from glyph_worker.setting_sections import FeatureSettings
from glyph_worker.store.features import CacheStore

# Patient, so that what a busy machine answers late is still an answer.
ALWAYS = FeatureSettings(
    break_even=False, audit_share=0.0, timeout_s=PATIENCE_S, transfer_timeout_s=PATIENCE_S
)
NUMBERS = list(range(6))
Start = Callable[..., FeatureCache]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[tuple[FeatureCache, CacheStore]] = []

    def start(url: str, encoder: FakeEncoder, settings: FeatureSettings = ALWAYS) -> FeatureCache:
        store = CacheStore.connect(
            url,
            prefix="t",
            timeout_s=settings.timeout_s,
            bulk_timeout_s=settings.transfer_timeout_s,
            chunk_bytes=settings.chunk_bytes,
        )
        cache = FeatureCache(encoder, settings, store)
        cache.start()
        made.append((cache, store))
        return cache

    yield start
    for cache, store in made:
        cache.stop()
        store.close()


def ask(cache: FeatureCache, numbers: list[int] = NUMBERS, **kwargs: Any) -> FeatureBatch:
    """Get pages and check every feature against the encoder's own."""
    batch = cache.get([fake_request(number) for number in numbers], **kwargs)
    encoder = cache._encoder
    assert isinstance(encoder, FakeEncoder)
    for number, features in zip(numbers, batch.features, strict=True):
        assert torch.equal(features, encoder.features(fake_page(number)))
    assert batch.num_encoded + batch.num_reused == len(numbers)
    return batch


def fill(start: Start, url: str, **encoder: Any) -> None:
    """Publish all pages, then forget the process that did."""
    cache = start(url, FakeEncoder(**encoder))
    ask(cache)
    assert cache.flush()
    cache.stop()


def key(number: int, cache: FeatureCache) -> str:
    return "t:feature:" + cache.recipe.feature_digest(fake_request(number).page_digest)


def forged(cache: FeatureCache, number: int, fault: str, client: redis.Redis) -> bytes:
    """A value that must not pass for page `number`'s features."""
    digest = key(number, cache).removeprefix("t:feature:")
    good = client.get(key(number, cache))
    assert isinstance(good, bytes)
    if fault == "flipped bit":
        return good[:-9] + bytes([good[-9] ^ 4]) + good[-8:]
    if fault == "flipped bit in the header":
        return good[:20] + bytes([good[20] ^ 1]) + good[21:]
    if fault == "truncated":
        return good[:-32]
    if fault == "truncated in the header":
        return good[:11]
    if fault == "empty":
        return b""
    if fault == "garbage":
        return b"\x92" + bytes(range(256)) * 8
    if fault == "a chunked value's head, cut":
        return b"GWC1" + good[:9]
    if fault == "wrong shape":
        return b"".join(wire.encode(digest, torch.zeros(16, 16), "raw"))
    if fault == "wrong dtype":
        return b"".join(wire.encode(digest, torch.zeros(8, 32, dtype=torch.bfloat16), "raw"))
    if fault == "wrong version":
        assert good[2] == 1 or good.count(b"\x01")
        at = good.index(b"\x01")
        return good[:at] + b"\x02" + good[at + 1 :]
    assert fault == "value of another key"
    other = client.get(key(number + 1, cache))
    assert isinstance(other, bytes)
    return other


@pytest.mark.parametrize(
    "fault",
    [
        "flipped bit",
        "flipped bit in the header",
        "truncated",
        "truncated in the header",
        "empty",
        "garbage",
        "a chunked value's head, cut",
        "wrong shape",
        "wrong dtype",
        "wrong version",
        "value of another key",
    ],
)
def test_a_damaged_value_is_replaced_and_never_used(
    fault: str, cache_url: str, start: Start
) -> None:
    fill(start, cache_url)
    cache = start(cache_url, FakeEncoder())
    with redis.Redis.from_url(cache_url) as client:
        good = client.get(key(2, cache))
        client.set(key(2, cache), forged(cache, 2, fault, client), ex=60)

        batch = ask(cache)
        assert cache.flush()

        assert batch.sources == [Source.STORE] * 2 + [Source.ENCODED] + [Source.STORE] * 3
        assert cache.stats().events["damaged"] == 1
        assert client.get(key(2, cache)) == good


def test_a_key_of_another_type_is_a_miss(cache_url: str, start: Start) -> None:
    cache = start(cache_url, FakeEncoder())
    with redis.Redis.from_url(cache_url) as client:
        client.rpush(key(2, cache), "x")
        client.expire(key(2, cache), 60)
    ask(cache)


def test_a_value_that_is_well_formed_but_wrong_is_caught_by_the_audit(
    cache_url: str, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    fill(start, cache_url)
    always_audit = ALWAYS.model_copy(update={"audit_share": 1.0})
    cache = start(cache_url, FakeEncoder(), always_audit)
    with redis.Redis.from_url(cache_url) as client:
        digest = key(2, cache).removeprefix("t:feature:")
        lie = wire.encode(digest, FakeEncoder().features(fake_page(99)), "raw")
        client.set(key(2, cache), b"".join(lie), ex=60)

        ask(cache)

        assert cache.stats().events["audit"] == len(NUMBERS)
        assert cache.stats().events["audit_mismatch"] == 1
        assert "audit_mismatch" in caplog.text
        assert any(record.levelname == "ERROR" for record in caplog.records)
        assert client.get(key(2, cache)) is None
        assert client.exists(f"t:feature-quarantine:{digest}")

        # While quarantined it is encoded each time, by anybody, and not stored.
        other = start(cache_url, FakeEncoder())
        assert ask(other).count(Source.ENCODED) == 1
        assert other.flush()
        assert client.get(key(2, cache)) is None


def test_an_audit_without_pixels_uses_what_is_stored(cache_url: str, start: Start) -> None:
    fill(start, cache_url)
    cache = start(cache_url, FakeEncoder(), ALWAYS.model_copy(update={"audit_share": 1.0}))

    def fail() -> None:
        raise OSError("no pixels")

    batch = cache.get([fake_request(1, on_draw=fail)])

    assert batch.sources == [Source.STORE]


def test_a_server_killed_and_restarted_costs_no_job(own_redis: Any, start: Start) -> None:
    cache = start(own_redis.url(), FakeEncoder())
    ask(cache)
    assert cache.flush()

    own_redis.kill()
    for number in range(10, 20):
        ask(cache, [number])
    assert not cache.stats().store_up

    own_redis.start()
    wait_until(lambda: cache.stats().store_up, description="the breaker closes")
    ask(cache, [30])
    assert cache.flush()
    assert ask(start(own_redis.url(), FakeEncoder()), [30]).sources == [Source.STORE]


def test_a_server_that_dies_amid_many_jobs_fails_none(own_redis: Any, start: Start) -> None:
    cache = start(own_redis.url(), FakeEncoder(ms_per_page=3))
    for number in range(100):
        if number == 30:
            own_redis.kill()
        ask(cache, [number])


def test_a_server_out_of_memory_costs_no_job(own_redis: Any, start: Start) -> None:
    with redis.Redis.from_url(own_redis.url()) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1mb")
        cache = start(own_redis.url(), FakeEncoder())

        assert ask(cache).num_encoded == len(NUMBERS)
        assert ask(cache).num_encoded == 0
        assert cache.flush()
        assert cache.stats().events["store_full"] >= 1
        assert cache.stats().store_up

        client.config_set("maxmemory", "0")


def test_a_small_server_evicts_and_answers_stay_right(own_redis: Any, start: Start) -> None:
    with redis.Redis.from_url(own_redis.url()) as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", used + 400_000)
    settings = ALWAYS.model_copy(update={"device_bytes": 0})
    cache = start(own_redis.url(), FakeEncoder(hidden_size=1024), settings)
    for number in range(200):
        ask(cache, [number % 40])


def test_a_slow_server_is_asked_a_few_times_and_then_left_alone(
    own_redis: Any, start: Start
) -> None:
    with Link("127.0.0.1", own_redis.port, delay_s=1.0) as link:
        url = own_redis.url().replace(str(own_redis.port), str(link.port))
        cache = start(url, FakeEncoder(ms_per_page=5), FeatureSettings())
        ask(cache, [0])  # measures the encode

        batches = [ask(cache, [number]) for number in range(1, 41)]

    # Jobs waited for it until two in a row had waited in vain, and then no more.
    assert {batch.sources[0] for batch in batches} == {Source.ENCODED}
    assert 0 < cache.stats().events["store_failed"] < 10


def test_a_server_that_never_answers_holds_up_no_job(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        cache = start(url, FakeEncoder(), ALWAYS.model_copy(update={"timeout_s": 0.2}))

        for number in range(60):
            ask(cache, [number])

        assert 0 < cache.stats().events["store_failed"] < 10, "not waited for each time"


def test_a_link_that_stalls_in_mid_transfer_holds_up_no_job(own_redis: Any, start: Start) -> None:
    fill(start, own_redis.url(), hidden_size=4096)
    with Link("127.0.0.1", own_redis.port) as link:
        url = own_redis.url().replace(str(own_redis.port), str(link.port))
        cache = start(url, FakeEncoder(hidden_size=4096, ms_per_page=5), FeatureSettings())
        ask(cache, [100])
        link.bytes_per_s = 20_000  # 128 kB a page: more than 6 s each

        batch = ask(cache)

        assert batch.num_encoded > 0, "waited for all that the link would bring"


def test_features_evicted_between_question_and_fetch_are_encoded(
    cache_url: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(start, cache_url)
    cache = start(cache_url, FakeEncoder())
    fetch = CacheStore.fetch

    def evict_first(self: CacheStore, digests: Any) -> Any:
        self.drop(digests)
        return fetch(self, digests)

    monkeypatch.setattr(CacheStore, "fetch", evict_first)
    batch = ask(cache)

    assert batch.num_encoded == len(NUMBERS)
    assert cache.stats().events["vanished"] >= 1


def test_features_that_vanish_every_time_are_encoded_in_the_end(
    cache_url: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(start, cache_url)
    cache = start(cache_url, FakeEncoder())
    monkeypatch.setattr(CacheStore, "fetch", lambda self, digests: [None] * len(digests))

    assert ask(cache).num_encoded == len(NUMBERS)


def test_two_checkpoints_share_a_server_and_no_feature(cache_url: str, start: Start) -> None:
    fill(start, cache_url, seed=1)

    assert ask(start(cache_url, FakeEncoder(seed=2))).num_encoded == len(NUMBERS)
    assert ask(start(cache_url, FakeEncoder(seed=1))).num_encoded == 0


def test_two_tenants_share_a_server_and_no_feature(cache_url: str, start: Start) -> None:
    cache = start(cache_url, FakeEncoder())
    ask(cache, salt="one")
    assert cache.flush()

    assert ask(start(cache_url, FakeEncoder()), salt="two").num_encoded == len(NUMBERS)
    assert ask(start(cache_url, FakeEncoder()), salt="one").num_encoded == 0


def test_large_values_travel_in_chunks(cache_url: str, start: Start) -> None:
    settings = ALWAYS.model_copy(update={"chunk_bytes": 4096})
    cache = start(cache_url, FakeEncoder(hidden_size=1024), settings)
    ask(cache)
    assert cache.flush()
    with redis.Redis.from_url(cache_url) as client:
        assert sum(1 for _ in client.scan_iter(match="t:feature-part:*")) >= len(NUMBERS)

    batch = ask(start(cache_url, FakeEncoder(hidden_size=1024), settings))

    assert batch.sources == [Source.STORE] * len(NUMBERS)
