"""Page images on a real cache server."""

from __future__ import annotations

import pytest

from glyph_worker.document import digest
from glyph_worker.errors import StoreUnavailable
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.page_images import PageImages

A, B, C = (digest("page", name) for name in "abc")


def test_they_come_back_or_not_at_all(cache_url: str) -> None:
    with connect(cache_url) as client:
        images = PageImages(client, Keys("t"), ttl_s=60)
        images.put(A, b"page a")
        images.put(B, b"")
        assert [images.get(name) for name in (A, B, C)] == [b"page a", b"", None]

        raw = client.get(f"t:page:{A}")
        assert isinstance(raw, bytes)
        client.set(f"t:page:{B}", raw, ex=60)  # another page's
        client.set(f"t:page:{C}", raw[:-1] + b"X", ex=60)  # a flipped bit
        client.set(f"t:page:{A}", raw[:20], ex=60)  # a cut
        assert [images.get(name) for name in (A, B, C)] == [None, None, None]


def test_a_server_that_failed_is_left_alone_for_a_moment(
    cache_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = "redis://127.0.0.1:1/0"
    images = PageImages(connect(gone, timeout_s=0.2, num_retries=0), Keys("t"), ttl_s=60)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        images.get(A)
    with pytest.raises(StoreUnavailable, match=r"asked again within 0\.5 s"):
        images.put(A, b"page a")

    clock = [10.0]
    monkeypatch.setattr("glyph_worker.store.page_images.time.monotonic", lambda: clock[0])
    with connect(cache_url) as client:
        images = PageImages(client, Keys("t"), ttl_s=60)
        images._client = connect(gone, timeout_s=0.2, num_retries=0)
        with pytest.raises(StoreUnavailable, match="does not answer"):
            images.get(A)
        images._client = client
        clock[0] += 0.6
        images.put(A, b"page a")
        assert images.get(A) == b"page a"
