"""Whatever lies in the cache server: an answer is the document's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from waiting import PATIENCE_S

from glyph_worker.client import Client
from glyph_worker.job import Answer

DOCUMENT = "a lamp: 12 EUR \ue123\n" * 60
OTHER = "a chair: 40 EUR\n" * 90


@pytest.fixture
def cache(service: Any) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(service.settings.cache_server.get_secret_value()) as client:
        yield client


def ask(service: Any, document: str, question: str, tenant: str = "default") -> Answer:
    client = Client(service.settings, tenant=tenant)
    job = client.submit(document, question, max_new_tokens=8)
    return client.wait(job.id, timeout=PATIENCE_S)


def layouts(cache: redis.Redis) -> set[bytes]:
    return set(cache.scan_iter("glyph:layout:*"))


def test_a_receipt_is_the_same_whoever_asked_before(service: Any) -> None:
    first = ask(service, DOCUMENT, "what?", "a").receipt
    again = ask(service, DOCUMENT, "what else?", "a").receipt
    other = ask(service, DOCUMENT, "what?", "b").receipt
    assert first.missing_glyphs == 60
    assert again.missing_glyphs == other.missing_glyphs == 60
    assert again.pages_rendered == 0
    assert other.pages_rendered == first.pages_rendered > 0, "tenants share no page"


@pytest.mark.parametrize("fault", ["other", "garbage", "list"])
def test_a_false_layout_changes_no_answer(service: Any, cache: redis.Redis, fault: str) -> None:
    tenant = f"c-{fault}"
    before = layouts(cache)
    right = ask(service, DOCUMENT, "what?", tenant)
    (mine,) = layouts(cache) - before
    before = layouts(cache)
    ask(service, OTHER, "what?", tenant)
    (others,) = layouts(cache) - before
    other = cache.get(others)
    assert isinstance(other, bytes)
    if fault == "list":
        cache.delete(mine)
        cache.rpush(mine, other)
        cache.expire(mine, 60)
    else:
        cache.set(mine, other if fault == "other" else b"\xff" * 99, ex=60)
    found = ask(service, DOCUMENT, "what?", tenant)
    assert found.text == right.text
    assert found.receipt.visual_tokens == right.receipt.visual_tokens
