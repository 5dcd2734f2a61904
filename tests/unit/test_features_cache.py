"""The feature cache in one process: memory, flights, micro-batches. No server."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from made_up import FakeEncoder, fake_page, fake_request
from memory_store import MemoryStore
from waiting import PATIENCE_S, wait_until

from glyph_worker.errors import EngineFault, WorkerDraining
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.types import PageRequest, Source
from glyph_worker.setting_sections import FeatureSettings

ALWAYS = FeatureSettings(break_even=False, audit_share=0.0)


@pytest.fixture
def caches() -> Iterator[list[FeatureCache]]:
    made: list[FeatureCache] = []
    yield made
    for cache in made:
        cache.stop()


@pytest.fixture
def start(caches: list[FeatureCache]) -> Any:
    def start(encoder: FakeEncoder, *args: Any, **kwargs: Any) -> FeatureCache:
        cache = FeatureCache(encoder, *(args or (ALWAYS,)), **kwargs)
        cache.start()
        caches.append(cache)
        return cache

    return start


def until(predicate: Any) -> None:
    wait_until(predicate, description=inspect.getsource(predicate))


class Gate:
    """Holds the encoder at its first page until opened, so that others gather behind it."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, _: object) -> None:
        self.entered.set()
        self.opened.wait(PATIENCE_S)


def right(encoder: FakeEncoder, numbers: list[int], features: list[torch.Tensor]) -> bool:
    return all(
        torch.equal(encoder.features(fake_page(number)), one)
        for number, one in zip(numbers, features, strict=True)
    )


def test_pages_are_handed_over_as_they_land(start: Any) -> None:
    landed: list[torch.Tensor] = []
    third = fake_page(3)
    waited: list[int] = []

    def on_page(page: np.ndarray[Any, Any]) -> None:
        if np.array_equal(page, third):
            until(lambda: len(landed) == 2)
            waited.append(len(landed))

    encoder = FakeEncoder(on_page=on_page)
    cache = start(encoder, ALWAYS.model_copy(update={"micro_batch": 1}))
    numbers = [1, 2, 3, 1, 4]
    batch = cache.get([fake_request(number) for number in numbers], landed=landed.extend)
    assert waited == [2]
    assert right(encoder, numbers, landed)
    assert right(encoder, numbers, batch.features)

    landed.clear()
    cache.get([fake_request(number) for number in numbers], landed=landed.extend)
    assert right(encoder, numbers, landed), "from memory, too"


def test_pages_come_back_in_order_and_are_encoded_once(start: Any) -> None:
    encoder = FakeEncoder()
    cache = start(encoder)
    numbers = [3, 1, 2, 1]

    first = cache.get([fake_request(number) for number in numbers])
    again = cache.get([fake_request(number) for number in numbers])

    assert right(encoder, numbers, first.features)
    assert right(encoder, numbers, again.features)
    assert encoder.num_encoded == 3
    assert (first.num_encoded, first.num_reused, first.num_pages) == (3, 1, 4)
    assert again.sources == [Source.DEVICE] * 4
    assert first.encode_ms > 0 == again.encode_ms


def test_no_pages_is_an_empty_batch(start: Any) -> None:
    assert start(FakeEncoder()).get([]).features == []


def test_a_known_page_needs_no_pixels(start: Any) -> None:
    cache = start(FakeEncoder())
    cache.get([fake_request(1)])

    def never() -> Any:
        pytest.fail("pixels were asked for")

    page = fake_request(1)
    known = PageRequest(
        page_digest=page.page_digest, width=page.width, height=page.height, pixels=never
    )

    assert cache.get([known]).sources == [Source.DEVICE]


def test_a_restarted_worker_encodes_no_page_of_a_known_document(start: Any) -> None:
    store, encoder = MemoryStore(), FakeEncoder()
    first = start(encoder, ALWAYS, store)
    first.get([fake_request(number) for number in range(9)])
    assert first.flush()
    first.stop()

    restarted = FakeEncoder()
    batch = start(restarted, ALWAYS, store).get([fake_request(number) for number in range(9)])

    assert right(encoder, list(range(9)), batch.features)
    assert restarted.num_encoded == 0
    assert batch.sources == [Source.STORE] * 9
    assert batch.fetch_ms > 0


def test_fifty_threads_on_one_document_encode_each_page_once(start: Any) -> None:
    encoder = FakeEncoder(ms_per_page=2)
    cache = start(encoder, ALWAYS, MemoryStore())
    numbers = list(range(20))

    def job(_: int) -> Any:
        return cache.get([fake_request(number) for number in numbers])

    with ThreadPoolExecutor(50) as pool:
        batches = list(pool.map(job, range(50)))

    assert encoder.num_encoded == 20
    assert all(right(encoder, numbers, batch.features) for batch in batches)
    assert sum(batch.num_encoded for batch in batches) == 20
    stats = cache.stats()
    assert stats.num_asked == 50 * 20
    assert stats.num_encoded == stats.num_tower_pages == 20


def test_pages_of_several_jobs_share_a_micro_batch(start: Any) -> None:
    gate = Gate()
    encoder = FakeEncoder(on_page=gate)
    cache = start(encoder)

    with ThreadPoolExecutor(9) as pool:
        jobs = [pool.submit(cache.get, [fake_request(0)])]
        gate.entered.wait(PATIENCE_S)
        jobs += [pool.submit(cache.get, [fake_request(number)]) for number in range(1, 9)]
        until(lambda: len(cache._batcher._ready) == 8)
        gate.opened.set()
        for job in jobs:
            job.result(20)

    assert encoder.batches == [1, 8]


def test_only_pages_of_one_size_share_a_micro_batch(start: Any) -> None:
    encoder = FakeEncoder()
    cache = start(encoder)
    pages = [fake_request(n, height=56 if n % 2 else 84) for n in range(6)]

    batch = cache.get(pages)

    assert [len(one) for one in batch.features] == [12, 8] * 3


def test_a_page_that_breaks_the_encoder_fails_alone(start: Any) -> None:
    gate = Gate()
    poison = fake_page(5)

    def check(pixels: np.ndarray[Any, Any]) -> None:
        gate(pixels)
        if np.array_equal(pixels, poison):
            raise RuntimeError("CUDA error: device-side assert")

    encoder = FakeEncoder(on_page=check)
    cache = start(encoder)

    with ThreadPoolExecutor(9) as pool:
        jobs = [pool.submit(cache.get, [fake_request(0)])]
        gate.entered.wait(PATIENCE_S)
        jobs += [pool.submit(cache.get, [fake_request(number)]) for number in range(1, 9)]
        until(lambda: len(cache._batcher._ready) == 8)
        gate.opened.set()
        with pytest.raises(EngineFault, match="device-side assert"):
            jobs[5].result(10)
        for number in (0, 1, 2, 3, 4, 6, 7, 8):
            assert right(encoder, [number], jobs[number].result(10).features)


def test_out_of_memory_halves_the_micro_batch_and_loses_no_page(start: Any) -> None:
    encoder = FakeEncoder()
    whole = encoder.encode_pages

    def scarce(pages: list[Any]) -> Any:
        if len(pages) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(pages)

    encoder.encode_pages = scarce  # type: ignore[method-assign]
    cache = start(encoder)

    batch = cache.get([fake_request(number) for number in range(20)])

    assert right(encoder, list(range(20)), batch.features)


def test_pixels_that_cannot_be_made_fail_only_their_own_job(start: Any) -> None:
    encoder = FakeEncoder()
    cache = start(encoder)
    drawing, joined = threading.Event(), threading.Event()

    def fail() -> None:
        drawing.set()
        joined.wait(PATIENCE_S)
        raise OSError("page is gone")

    with ThreadPoolExecutor(2) as pool:
        bad = pool.submit(cache.get, [fake_request(1, on_draw=fail)])
        drawing.wait(PATIENCE_S)
        good = pool.submit(cache.get, [fake_request(1)])
        [flight] = cache._board.flights.values()
        until(lambda: len(flight.requests) == 2)
        joined.set()
        with pytest.raises(OSError, match="page is gone"):
            bad.result(10)
        batch = good.result(10)

    assert right(encoder, [1], batch.features)
    assert batch.sources == [Source.ENCODED]
    assert not cache._board.flights


def test_pixels_of_another_shape_are_refused(start: Any) -> None:
    page = fake_request(1)
    wrong = PageRequest(
        page_digest=page.page_digest, width=page.width, height=84, pixels=page.pixels
    )

    with pytest.raises(EngineFault, match="expected uint8"):
        start(FakeEncoder()).get([wrong])


def test_a_job_may_give_up_while_it_waits(start: Any) -> None:
    gate = threading.Event()
    cache = start(FakeEncoder(on_page=lambda _: gate.wait(PATIENCE_S) and None))

    def give_up(ready: int, asked: int) -> None:
        assert (ready, asked) == (0, 1)
        if cache._batcher._ready or cache._board.flights:
            raise TimeoutError("cancelled")

    with pytest.raises(TimeoutError, match="cancelled"):
        cache.get([fake_request(1)], progress=give_up)
    gate.set()


def test_progress_counts_pages_up_to_all_of_them(start: Any) -> None:
    seen: list[tuple[int, int]] = []
    cache = start(FakeEncoder())
    cache.get([fake_request(0)])

    cache.get([fake_request(n) for n in range(5)], progress=lambda *told: seen.append(told))

    assert seen[0][1] == 5
    assert seen[-1] == (5, 5)
    assert [ready for ready, _ in seen] == sorted(ready for ready, _ in seen)


def test_stop_ends_waiting_jobs_and_refuses_new_ones() -> None:
    def until_stopped(_: object) -> None:
        wait_until(lambda: not cache._running, description="the cache stops")

    cache = FeatureCache(FakeEncoder(on_page=until_stopped), ALWAYS)
    cache.start()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(cache.get, [fake_request(1)])
        until(lambda: cache._board.flights)
        cache.stop()
        with pytest.raises(WorkerDraining):
            job.result(PATIENCE_S)
    with pytest.raises(WorkerDraining):
        cache.get([fake_request(2)])


def test_what_the_device_lets_go_comes_back_from_host_memory(start: Any) -> None:
    store, encoder = MemoryStore(), FakeEncoder()
    first = start(encoder, ALWAYS, store)
    first.get([fake_request(number) for number in range(4)])
    assert first.flush()
    small = ALWAYS.model_copy(update={"device_bytes": 2 * 8 * 32 * 4})  # two pages
    cache = start(FakeEncoder(), small, store)
    cache._host.max_bytes = 1 << 20  # as behind a GPU; on the CPU this tier is off

    pages = [fake_request(number) for number in range(4)]
    fetched, again = cache.get(pages), cache.get(pages)

    assert fetched.sources == [Source.STORE] * 4
    assert again.sources == [Source.HOST] * 2 + [Source.DEVICE] * 2
    assert cache.get(pages[:2]).sources == [Source.DEVICE] * 2
    assert right(encoder, list(range(4)), again.features)
    stats = cache.stats()
    assert (stats.device_entries, stats.host_entries) == (2, 4)


def test_tenants_do_not_share_a_page(start: Any) -> None:
    encoder = FakeEncoder()
    cache = start(encoder, ALWAYS, MemoryStore())
    cache.get([fake_request(1)], salt="a")

    assert cache.get([fake_request(1)], salt="b").sources == [Source.ENCODED]
    assert cache.get([fake_request(1)], salt="a").sources == [Source.DEVICE]


def test_features_that_are_not_finite_are_not_published(start: Any) -> None:
    store, encoder = MemoryStore(), FakeEncoder()
    encoder._weight[0, 0] = float("nan")
    cache = start(encoder, ALWAYS, store)

    cache.get([fake_request(1)])
    assert cache.flush()

    assert list(store.digests()) == []
    assert cache.stats().events["publish_skipped"] == 1


@pytest.mark.parametrize("packing", ["raw", "packed", "int8"])
def test_cached_features_equal_fresh_ones_in_every_packing(start: Any, packing: Any) -> None:
    settings = ALWAYS.model_copy(update={"packing": packing})
    store = MemoryStore()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        encoder = FakeEncoder(dtype=dtype)
        writer = start(encoder, settings, store)
        fresh = writer.get([fake_request(1)])
        assert writer.flush()

        cached = start(FakeEncoder(dtype=dtype), settings, store).get([fake_request(1)])

        assert cached.sources == [Source.STORE]
        assert torch.equal(fresh.features[0], cached.features[0])
        assert cached.features[0].dtype == dtype
