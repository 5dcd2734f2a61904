"""What stays in memory: bytes are conserved, the recent stay, dear ones outlive cheap ones."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from glyph_worker.features.memory_tier import MemoryTier


def test_the_least_recently_used_goes_first() -> None:
    cache: MemoryTier[int] = MemoryTier(30)
    for key in "abc":
        cache.put(key, 1, 10)
    cache.get("a")

    assert cache.put("d", 1, 10) == ["b"]
    assert cache.put("e", 1, 20) == ["c", "a"]
    assert sorted(cache) == ["d", "e"]


def test_a_value_larger_than_all_evicts_nothing() -> None:
    cache: MemoryTier[int] = MemoryTier(10)
    cache.put("a", 1, 10)
    assert cache.put("b", 1, 11) == []
    assert cache.get("a") == 1
    assert cache.get("b") is None


def test_no_bytes_keep_nothing() -> None:
    cache: MemoryTier[int] = MemoryTier(0)
    cache.put("a", 1, 10)
    assert len(cache) == 0


def test_a_replaced_value_counts_once() -> None:
    cache: MemoryTier[int] = MemoryTier(30)
    cache.put("a", 1, 10)
    cache.put("a", 2, 20)
    assert (cache.get("a"), cache.num_bytes, len(cache)) == (2, 20, 1)


def test_what_is_dear_to_get_again_outlives_what_is_cheap() -> None:
    cache: MemoryTier[int] = MemoryTier(30)
    cache.put("dear", 1, 10, cost_ms=100)
    cache.put("cheap", 1, 10, cost_ms=1)
    cache.put("cheap too", 1, 10, cost_ms=1)

    assert cache.put("new", 1, 10, cost_ms=1) == ["cheap"]
    assert "dear" in cache


def test_what_is_dear_but_never_used_goes_in_the_end() -> None:
    cache: MemoryTier[int] = MemoryTier(20)
    cache.put("dear", 1, 10, cost_ms=5)
    for number in range(20):
        cache.put(str(number), 1, 10, cost_ms=1)
    assert "dear" not in cache


def test_clearing_forgets_all() -> None:
    cache: MemoryTier[int] = MemoryTier(20)
    cache.put("a", 1, 10)
    cache.clear()
    assert (len(cache), cache.num_bytes, cache.pop("a")) == (0, 0, None)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 40), st.booleans()), max_size=120),
    st.integers(0, 100),
)
def test_it_is_the_textbook_lru_where_all_cost_alike_per_byte(
    steps: list[tuple[int, int, bool]], max_bytes: int
) -> None:
    cache: MemoryTier[int] = MemoryTier(max_bytes)
    model: OrderedDict[str, int] = OrderedDict()
    for number, size, is_get in steps:
        key = str(number)
        if is_get:
            assert (cache.get(key) is not None) == (key in model)
            if key in model:
                model.move_to_end(key)
            continue
        cache.put(key, number, size, cost_ms=size * 0.5)
        model.pop(key, None)
        if size <= max_bytes:
            model[key] = size
            while sum(model.values()) > max_bytes:
                model.popitem(last=False)
        assert sorted(cache) == sorted(model)
        assert cache.num_bytes == sum(model.values()) <= max_bytes


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 40), st.floats(0.1, 9)), max_size=200))
def test_bytes_are_conserved_whatever_the_costs(steps: list[tuple[int, int, float]]) -> None:
    cache: MemoryTier[int] = MemoryTier(100)
    sizes: dict[str, int] = {}
    for number, size, cost in steps:
        key = str(number)
        for evicted in cache.put(key, number, size, cost_ms=cost):
            del sizes[evicted]
        sizes[key] = size
        assert cache.num_bytes == sum(sizes.values()) <= 100
        assert sorted(cache) == sorted(sizes)
