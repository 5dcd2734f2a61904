"""A vLLM server's share in the feature store: what it fetches, what it writes, what it survives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from memory_store import MemoryStore
from waiting import wait_until

from glyph_worker.backends.vllm_shelf import FeatureShape, Saver, Shelf
from glyph_worker.document import digest
from glyph_worker.errors import StoreUnavailable
from glyph_worker.features import wire
from glyph_worker.store.breaker import CircuitBreaker

PAGE, OTHER = digest("page"), digest("other")
SHAPE = FeatureShape(dtype=torch.float32, hidden_size=8, num_tensors=1)


def silent(*_: object) -> None:
    """Nobody listens."""


def features(num_tokens: int = 6) -> torch.Tensor:
    return torch.arange(num_tokens * SHAPE.width, dtype=torch.float32).view(num_tokens, -1)


def record(name: str = PAGE, num_tokens: int = 6) -> bytes:
    return b"".join(wire.encode(name, features(num_tokens), "raw"))


@contextmanager
def shelf_on(
    store: MemoryStore, *, max_bytes: int = 1 << 20, patience_s: float = 30
) -> Iterator[Shelf]:
    shelf = Shelf(
        CircuitBreaker(store, silent), SHAPE, owner="a", max_bytes=max_bytes, patience_s=patience_s
    )
    yield shelf
    shelf.stop()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_a_request_waits_for_a_page_that_is_stored_and_then_finds_it(store: MemoryStore) -> None:
    store.publish(PAGE, [record()], token="", ttl_s=60)
    with shelf_on(store) as shelf:
        assert shelf.record(PAGE) is None
        wait_until(lambda: shelf.settled({PAGE: 6}), description="it is fetched")
        assert shelf.record(PAGE) == record()


def test_a_missing_page_is_no_reason_to_wait(store: MemoryStore) -> None:
    with shelf_on(store) as shelf:
        wait_until(lambda: shelf.settled({PAGE: 6, OTHER: 6}), description="neither is there")
        assert shelf.record(PAGE) is None


@pytest.mark.parametrize("wrong", ["another page", "another size", "a flipped bit"])
def test_a_record_that_is_not_the_page_s_is_not_used(store: MemoryStore, wrong: str) -> None:
    raw = bytearray(record(OTHER if wrong == "another page" else PAGE))
    if wrong == "a flipped bit":
        raw[-1] ^= 1
    store.publish(PAGE, [bytes(raw)], token="", ttl_s=60)
    with shelf_on(store) as shelf:
        num_tokens = 7 if wrong == "another size" else 6
        wait_until(lambda: shelf.settled({PAGE: num_tokens}), description="it is looked at")
        assert shelf.record(PAGE) is None


def test_only_what_fits_is_kept(store: MemoryStore) -> None:
    for name in (PAGE, OTHER):
        store.publish(name, [record(name)], token="", ttl_s=60)
    with shelf_on(store, max_bytes=len(record()) + 10) as shelf:
        wait_until(lambda: shelf.settled({PAGE: 6}), description="the first is fetched")
        wait_until(lambda: shelf.settled({OTHER: 6}), description="the second is fetched")
        assert shelf.record(OTHER) is not None
        assert shelf.record(PAGE) is None


class _Stuck(MemoryStore):
    """Takes its time."""

    def fetch(self, digests: object) -> list[bytes | None]:
        time.sleep(0.3)
        raise StoreUnavailable("it is away")


def test_a_dead_store_costs_a_request_its_patience_and_no_more() -> None:
    with shelf_on(_Stuck(), patience_s=0.05) as shelf:
        assert not shelf.settled({PAGE: 6})
        wait_until(lambda: shelf.settled({PAGE: 6}), description="patience is over", timeout_s=10)
        assert shelf.record(PAGE) is None


def test_what_vllm_encodes_is_stored_for_all_others(store: MemoryStore) -> None:
    saver = Saver(CircuitBreaker(store, silent), SHAPE, owner="b", form="raw", ttl_s=60)
    saver.encoded(PAGE, features())
    saver.stop()
    assert store.fetch([PAGE]) == [record()]
    with shelf_on(store) as shelf:
        wait_until(lambda: shelf.settled({PAGE: 6}), description="another server fetches it")
        assert shelf.record(PAGE) == record()


def test_features_that_are_not_finite_or_of_another_width_are_not_stored(
    store: MemoryStore,
) -> None:
    saver = Saver(CircuitBreaker(store, silent), SHAPE, owner="b", form="raw", ttl_s=60)
    saver.encoded(PAGE, features() * float("inf"))
    saver.encoded(OTHER, torch.zeros(6, SHAPE.width + 1))
    saver.stop()
    assert store.fetch([PAGE, OTHER]) == [None, None]
