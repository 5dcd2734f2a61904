"""Layouts on a real cache server: what does not fit what was asked for is a miss."""

from __future__ import annotations

import dataclasses

import pytest
import redis

from glyph_worker import codec
from glyph_worker.document import Page, digest
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.layouts import LayoutStore, StoredLayout

A, B, STYLE, SALT = (digest(kind, "x") for kind in ("a", "b", "style", "salt"))


def layout(name: str) -> StoredLayout:
    pages = tuple(
        Page(index=at, digest=digest(name, at), width=112, height=56, start=at, end=at + 1)
        for at in range(3)
    )
    return StoredLayout(pages=pages, num_missing_glyphs=7)


@pytest.fixture
def client(cache_url: str) -> redis.Redis:
    return connect(cache_url)


@pytest.fixture
def store(client: redis.Redis, cache_url: str) -> LayoutStore:
    return LayoutStore(client, Keys("t"), ttl_s=60)


def only_key(client: redis.Redis) -> bytes:
    (name,) = client.scan_iter("t:layout:*")
    return bytes(name)


def test_a_layout_comes_back_with_what_the_receipt_says_of_it(store: LayoutStore) -> None:
    store.put(A, STYLE, layout("a"), salt=SALT)
    assert store.get(A, STYLE, salt=SALT) == layout("a")
    assert store.get(B, STYLE, salt=SALT) is None
    store.drop(A, STYLE, salt=SALT)
    assert store.get(A, STYLE, salt=SALT) is None


def test_another_tenant_does_not_find_it(store: LayoutStore, client: redis.Redis) -> None:
    store.put(A, STYLE, layout("a"), salt=SALT)
    assert store.get(A, STYLE, salt=digest("salt", "other")) is None


@pytest.mark.parametrize("fault", ["bit", "cut", "empty", "garbage", "bare", "list", "other"])
def test_what_was_not_asked_for_is_a_miss(
    store: LayoutStore, client: redis.Redis, fault: str
) -> None:
    store.put(A, STYLE, layout("a"), salt=SALT)
    name = only_key(client)
    good = client.get(name)
    assert isinstance(good, bytes)
    if fault == "list":
        client.delete(name)
        client.rpush(name, good)
        client.expire(name, 60)
    elif fault == "other":  # another document's, whole and sealed
        client.delete(name)
        store.put(B, STYLE, layout("b"), salt=SALT)
        other = client.get(only_key(client))
        assert isinstance(other, bytes)
        client.set(name, other, ex=60)
    else:
        rows = [list(dataclasses.astuple(page)) for page in layout("b").pages]
        forged = {
            "bit": good[:-1] + bytes([good[-1] ^ 1]),
            "cut": good[:-5],
            "empty": b"",
            "garbage": b"\x93" + bytes(range(256)),
            "bare": codec.pack("layout", {"pages": rows}),  # as releases before wrote it
        }[fault]
        client.set(name, forged, ex=60)
    assert store.get(A, STYLE, salt=SALT) is None
    store.put(A, STYLE, layout("a"), salt=SALT)
    assert store.get(A, STYLE, salt=SALT) == layout("a"), "and can be written anew"


def test_a_seal_made_without_the_tenants_salt_is_none(
    store: LayoutStore, client: redis.Redis
) -> None:
    """Whoever may write to the cache reads the key's name there, and not the salt."""
    store.put(A, STYLE, layout("a"), salt=SALT)
    name = only_key(client)
    packed = codec.pack("layout", {"pages": [], "missing": 0})
    shown = name.decode().rpartition(":")[2]
    for guess in ("", shown):
        seal = bytes.fromhex(digest("layout-seal", guess, shown, packed))
        client.set(name, seal + packed, ex=60)
        assert store.get(A, STYLE, salt=SALT) is None
