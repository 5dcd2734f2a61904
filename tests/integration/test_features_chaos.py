"""A store that fails, lies, stalls and forgets at random: answers stay right."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from made_up import FakeEncoder, fake_page, fake_request
from memory_store import MemoryStore
from waiting import wait_until

from glyph_worker.errors import EngineFault, StoreFull, StoreUnavailable
from glyph_worker.features.cache import FeatureCache
from glyph_worker.setting_sections import FeatureSettings
from glyph_worker.store import breaker

NUM_PAGES = 30
NUM_JOBS = int(os.environ.get("GLYPH_TEST_CHAOS_JOBS", "150"))
SEEDS = [1, 2, 3]


@pytest.fixture(autouse=True)
def breaker_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or nearly all calls would be spared the chaos."""
    monkeypatch.setattr(breaker, "TRIP", 10**9)
    monkeypatch.setattr(breaker, "FULL_PAUSE_S", 0.01)


class Chaos(MemoryStore):
    """Each call may raise, sleep, lie or forget; `rate` is how often."""

    def __init__(self, seed: int, rate: float) -> None:
        super().__init__(max_bytes=30_000)  # about 25 pages: it evicts as well
        self._random = random.Random(seed)
        self.rate = rate

    def _act(self) -> None:
        if self._random.random() >= self.rate:
            return
        match self._random.randrange(5):
            case 0:
                raise StoreUnavailable("chaos")
            case 1:
                raise StoreFull("chaos")
            case 2:
                raise RuntimeError("a reply nobody can parse")
            case _:
                time.sleep(self._random.random() * 0.03)

    def claim(self, digests: Sequence[str], **kwargs: Any) -> Any:
        self._act()
        answers = super().claim(digests, **kwargs)
        if self._random.random() < self.rate:
            # Says it has what it has not, or that somebody encodes what nobody does.
            lie = self._random.choice([("stored", ""), ("held", "1:nobody"), ("free", "")])
            answers[self._random.randrange(len(answers))] = lie
        return answers

    def fetch(self, digests: Sequence[str]) -> list[bytes | None]:
        self._act()
        values = super().fetch(digests)
        for at, value in enumerate(values):
            if value is not None and self._random.random() < self.rate:
                values[at] = self._random.choice([value[:-5], b"", value[::-1], values[0], None])
        return values

    def publish(self, *args: Any, **kwargs: Any) -> Any:
        self._act()
        return super().publish(*args, **kwargs)

    def renew(self, *args: Any, **kwargs: Any) -> Any:
        self._act()
        return super().renew(*args, **kwargs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("break_even", [True, False])
def test_jobs_end_right_whatever_the_store_does(seed: int, break_even: bool) -> None:
    store = Chaos(seed, rate=0.15)
    settings = FeatureSettings(
        break_even=break_even,
        audit_share=0.2,
        device_bytes=15_000,
        micro_batch=3,
        timeout_s=0.05,
        claim_lease_s=0.2,
        claim_patience_s=0.5,
        quarantine_s=1,
    )
    encoders = [FakeEncoder(ms_per_page=1) for _ in range(2)]
    caches = [FeatureCache(encoder, settings, store, seed=seed) for encoder in encoders]
    asked = threading.Semaphore(0)
    for cache in caches:
        cache.start()

    def job(number: int) -> int:
        rng = random.Random(1000 * seed + number)
        numbers = [rng.randrange(NUM_PAGES) for _ in range(rng.randrange(1, 12))]
        batch = rng.choice(caches).get([fake_request(one) for one in numbers])
        for one, features in zip(numbers, batch.features, strict=True):
            assert torch.equal(features, encoders[0].features(fake_page(one)))
        assert batch.num_encoded + batch.num_reused == len(numbers)
        asked.release()
        return len(numbers)

    with ThreadPoolExecutor(12) as pool:
        num_asked = sum(pool.map(job, range(NUM_JOBS)))
    for cache in caches:
        assert not cache._board.flights
        cache.stop()

    stats = [cache.stats() for cache in caches]
    assert sum(one.num_asked for one in stats) == num_asked
    assert all(one.num_encoded <= one.num_tower_pages for one in stats)
    assert sum(one.num_tower_pages for one in stats) == sum(e.num_encoded for e in encoders)


@pytest.mark.parametrize("seed", SEEDS)
def test_pages_and_jobs_that_fail_take_no_other_with_them(seed: int) -> None:
    poison = {3, 11}
    poisoned = [fake_page(number) for number in poison]

    def check(pixels: Any) -> None:
        if any((pixels == one).all() for one in poisoned):
            raise RuntimeError("illegal memory access")

    encoder = FakeEncoder(ms_per_page=1, on_page=check)
    cache = FeatureCache(
        encoder, FeatureSettings(device_bytes=15_000, micro_batch=4), Chaos(seed, rate=0.1)
    )
    cache.start()

    class Impatient(Exception):
        pass

    def job(number: int) -> str:
        rng = random.Random(1000 * seed + number)
        numbers = [rng.randrange(NUM_PAGES) for _ in range(rng.randrange(1, 8))]
        leaves = rng.random() < 0.2

        def progress(ready: int, asked: int) -> None:
            if leaves and ready:
                raise Impatient

        def draw() -> None:
            if rng.random() < 0.03:
                raise OSError("page image is gone")

        requests = [fake_request(one, on_draw=draw) for one in numbers]
        try:
            batch = cache.get(requests, progress=progress)
        except EngineFault:
            assert poison & set(numbers)
            return "poison"
        except (Impatient, OSError) as exc:
            return type(exc).__name__
        assert not poison & set(numbers)
        for one, features in zip(numbers, batch.features, strict=True):
            assert torch.equal(features, encoder.features(fake_page(one)))
        return "right"

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(job, range(NUM_JOBS)))

    assert outcomes.count("right") > 50
    assert outcomes.count("poison") > 10
    # What its jobs left behind ends by itself.
    wait_until(lambda: not cache._board.flights, description="no page is in flight")
    cache.stop()
