"""The breaker before the cache server: failures cost little, and it finds its way back."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from made_up import FakeEncoder
from memory_store import MemoryStore

from glyph_worker.errors import StoreDenied, StoreFull, StoreUnavailable
from glyph_worker.features.cache import FeatureCache
from glyph_worker.setting_sections import FeatureSettings
from glyph_worker.store.breaker import CircuitBreaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Broken(MemoryStore):
    """Raises `error`, when set, and counts how often it was asked."""

    error: Exception | None = None
    calls = 0

    def ping(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


def make() -> tuple[CircuitBreaker, Broken, Clock, list[str]]:
    store, clock, events = Broken(), Clock(), []
    guard = CircuitBreaker(store, lambda event, fields: events.append(event), clock)
    return guard, store, clock, events


def ping(guard: CircuitBreaker) -> Any:
    return guard.call("ping", lambda store: store.ping() or "pong")


def test_no_store_answers_none() -> None:
    guard = CircuitBreaker(None, lambda event, fields: None)
    assert not guard.up
    assert ping(guard) is None
    guard.probe()


def test_answers_pass_through() -> None:
    assert ping(make()[0]) == "pong"


def test_two_failures_in_a_row_open_it_and_then_nothing_is_asked() -> None:
    guard, store, _, events = make()
    store.error = StoreUnavailable("down")
    assert [ping(guard) for _ in range(50)] == [None] * 50
    assert store.calls == 2
    assert not guard.up
    assert events == ["store_failed", "store_failed"]


def test_one_failure_between_successes_opens_nothing() -> None:
    guard, store, _, _ = make()
    for _ in range(10):
        store.error = StoreUnavailable("hiccup")
        ping(guard)
        store.error = None
        assert ping(guard) == "pong"


def test_whatever_a_lying_server_makes_break_is_a_failure() -> None:
    guard, store, _, _ = make()
    store.error = ZeroDivisionError("odd reply")
    assert ping(guard) is None


def test_a_refused_password_opens_it_at_once() -> None:
    guard, store, _, _ = make()
    store.error = StoreDenied("WRONGPASS")
    ping(guard)
    assert not guard.up


def test_probes_come_at_growing_intervals_and_close_it_again() -> None:
    guard, store, clock, events = make()
    store.error = StoreUnavailable("down")
    ping(guard)
    ping(guard)
    store.calls = 0

    for _ in range(6_000):
        clock.now += 0.01
        guard.probe()
    assert 5 <= store.calls <= 12  # in a minute
    store.error = None
    clock.now += 15
    guard.probe()

    assert guard.up
    assert ping(guard) == "pong"
    assert events[-1] == "store_back"


def test_a_full_server_is_still_asked_but_known_to_be_full_for_a_while() -> None:
    guard, store, clock, events = make()
    store.error = StoreFull("OOM")
    for _ in range(5):
        ping(guard)
    assert guard.up
    assert guard.full
    assert events == ["store_full"] * 5
    clock.now += 6
    assert not guard.full


def test_a_closed_one_asks_nobody_and_never_wakes() -> None:
    guard, store, clock, _ = make()
    store.error = StoreUnavailable("down")
    ping(guard), ping(guard)
    guard.close()
    store.error = None
    clock.now += 3600
    guard.probe()
    assert ping(guard) is None
    assert store.calls == 2
    assert not guard.up


def test_a_thread_that_outlives_a_stopped_cache_asks_the_server_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow(MemoryStore):
        num_written = 0

        def get_probe(self, owner: str) -> bytes | None:
            asked.set()
            answer.wait(30)
            return None

        def put_probe(self, owner: str, value: bytes) -> None:
            self.num_written += 1

    monkeypatch.setattr("glyph_worker.features.cache.STOP_S", 0.01)
    store, before = Slow(), set(threading.enumerate())
    cache = FeatureCache(FakeEncoder(), FeatureSettings(), store)
    cache.start()
    assert asked.wait(30)
    cache.stop()
    answer.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
    assert store.num_written == 0, "over a connection that nobody closes"
