"""Page features on the cache server, as opaque bytes. No tensors, no policy.

Keys, all strings unless said, all with a time to live, none of them needed for a right answer:
  {prefix}:feature:{digest}              a page's features, or the head of a chunked one; ttl_s
  {prefix}:feature-part:{digest}:{nonce}:{i}  further chunks, or a value being staged; ttl_s, 60 s
  {prefix}:feature-claim:{digest}        the fencing token of whoever encodes the page; lease
  {prefix}:feature-quarantine:{digest}   why these features may not be kept; quarantine_s
  {prefix}:feature-recipes       zset    recipes of live answer workers by last sign of life; 90 s
  {prefix}:feature-stats:{owner}         one worker's counters, packed; 90 s
  {prefix}:feature-probe:{owner}         bytes by which a worker measures its link; 90 s

A miss is None. Raises StoreUnavailable, StoreFull, StoreDenied.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from redis.backoff import NoBackoff
from redis.retry import Retry

from glyph_worker.errors import InvalidSetting
from glyph_worker.settings import Settings
from glyph_worker.store.breaker import Rest
from glyph_worker.store.connection import Server, connect

ClaimState = Literal["stored", "claimed", "held", "free", "quarantined"]
CommitState = Literal["stored", "fenced", "quarantined", "lost"]

LIVE_S = 90
PAGES_PER_SCRIPT = 500  # a script blocks the server: 500 pages take about 1 ms
_CHUNKED = b"GWC1"
_LUA = Path(__file__).with_name("lua")


class CacheStore:
    """The cache server. Two clients, so that a 1 GB fetch never delays a claim."""

    def __init__(
        self,
        control: Server,
        bulk: Server,
        *,
        prefix: str,
        chunk_bytes: int = 16 << 20,
    ) -> None:
        """`control` carries questions of a few bytes, `bulk` the values. Both without retries:
        the caller has something better to do than to wait (encode)."""
        self._control = control
        self._bulk = bulk
        self._prefix = prefix
        self._chunk_bytes = chunk_bytes
        self._rest = Rest(time.monotonic)
        # EVAL with the body, not EVALSHA: a restarted server has forgotten every script.
        self._claim = (_LUA / "feature_claim.lua").read_text()
        self._commit = (_LUA / "feature_commit.lua").read_text()
        self._renew = (_LUA / "feature_renew.lua").read_text()
        self._announce = (_LUA / "feature_recipes.lua").read_text()

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        prefix: str,
        timeout_s: float = 0.5,
        bulk_timeout_s: float = 5.0,
        chunk_bytes: int = 16 << 20,
    ) -> CacheStore:
        """Lazy clients for `url`; nothing is sent yet. Raises InvalidSetting for a bad URL."""
        clients = []
        for timeout in (timeout_s, bulk_timeout_s):
            client = connect(url, timeout_s=timeout, num_retries=0)
            client.set_retry(Retry(NoBackoff(), 0))
            clients.append(client)
        return cls(*clients, prefix=prefix, chunk_bytes=chunk_bytes)

    @classmethod
    def of(cls, settings: Settings) -> CacheStore:
        """The cache server these settings name; the broker's, if they name no other."""
        url = settings.cache_server
        if url is None:
            raise InvalidSetting("no cache server: set GLYPH_CACHE_URL or GLYPH_BROKER_URL")
        return cls.connect(
            url.get_secret_value(),
            prefix=settings.key_prefix,
            timeout_s=settings.features.timeout_s,
            bulk_timeout_s=settings.features.transfer_timeout_s,
            chunk_bytes=settings.features.chunk_bytes,
        )

    def close(self) -> None:
        self._control.close()
        self._bulk.close()

    def _key(self, kind: str, *parts: str) -> str:
        return ":".join((self._prefix, kind, *parts))

    # claims

    def claim(
        self, digests: Sequence[str], *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[ClaimState, str]]:
        """What is known of each page, and up to `limit` claims on those nobody encodes."""
        found: list[tuple[ClaimState, str]] = []
        for start in range(0, len(digests), PAGES_PER_SCRIPT):
            some = digests[start : start + PAGES_PER_SCRIPT]
            kinds = ("feature", "feature-claim", "feature-quarantine")
            keys = [self._key(kind, digest) for digest in some for kind in kinds]
            lease_ms = max(1, int(lease_s * 1e3))
            replies = self._eval(self._control, self._claim, keys, owner, lease_ms, limit)
            states = [reply.decode() for reply in replies]
            found += zip(cast("list[ClaimState]", states[::2]), states[1::2], strict=True)
            limit -= sum(state == "claimed" for state, _ in found[-len(some) :])
        return found

    def renew(self, claims: Sequence[tuple[str, str]], *, lease_s: float) -> list[bool]:
        """Keep (digest, token) claims alive; lease 0 gives them up. True where it was ours."""
        if not claims:
            return []
        keys = [self._key("feature-claim", digest) for digest, _ in claims]
        tokens = [token for _, token in claims]
        replies = self._eval(self._control, self._renew, keys, int(lease_s * 1e3), *tokens)
        return [reply == 1 for reply in replies]

    # features

    def stored(self, digests: Sequence[str]) -> list[bool]:
        """Which features are there now. They may be evicted before they are fetched."""
        with self._rest.spared(str(self._control)):
            pipe = self._control.pipeline(transaction=False)
            for digest in digests:
                pipe.exists(self._key("feature", digest))
            return [bool(reply) for reply in pipe.execute()]

    def fetch(self, digests: Sequence[str]) -> list[bytes | None]:
        """Values by digest, None where missing (or where one chunk of it is)."""
        pipe = self._bulk.pipeline(transaction=False)
        # MGETs of a few keys in one pipeline: one round trip, and no long block of the server.
        for start in range(0, len(digests), 4):
            pipe.mget([self._key("feature", digest) for digest in digests[start : start + 4]])
        values = [value for reply in pipe.execute() for value in reply]
        for at, (digest, value) in enumerate(zip(digests, values, strict=True)):
            if value is not None and value[:4] == _CHUNKED:
                values[at] = self._join(digest, value)
        return values

    def _join(self, digest: str, head: bytes) -> bytes | None:
        if len(head) < 21:
            return head  # a cut: whoever decodes it will say so, and drop it
        nonce, num_chunks = head[4:20].decode("ascii", "replace"), head[20]
        names = [self._key("feature-part", digest, nonce, str(i)) for i in range(1, num_chunks)]
        pipe = self._bulk.pipeline(transaction=False)
        for name in names:
            pipe.get(name)
        chunks = pipe.execute()
        return None if None in chunks else b"".join((memoryview(head)[21:], *chunks))

    def publish(
        self, digest: str, parts: Sequence[bytes | memoryview], *, token: str, ttl_s: int
    ) -> CommitState:
        """Store a value under the fence `token` ('' without a claim) and end that claim.

        Staged under a private name and renamed in the same step as the fence is checked, so a
        claimant that was thought dead never overwrites its successor, and nobody sees a half.
        """
        value = b"".join(parts)
        nonce = os.urandom(8).hex()
        chunks = [memoryview(value)]
        if len(value) > self._chunk_bytes:
            size = max(self._chunk_bytes, -(-len(value) // 255))
            chunks = [memoryview(value)[at : at + size] for at in range(0, len(value), size)]
            head = b"".join((_CHUNKED, nonce.encode(), bytes([len(chunks)]), chunks[0]))
            chunks[0] = memoryview(head)
        names = [self._key("feature-part", digest, nonce, str(i)) for i in range(len(chunks))]
        kinds = ("feature", "feature-claim", "feature-quarantine")
        keys = [names[0], *(self._key(kind, digest) for kind in kinds)]
        pipe = self._bulk.pipeline(transaction=False)
        for name, chunk in zip(names[1:], chunks[1:], strict=True):
            pipe.set(name, cast(bytes, chunk), ex=ttl_s)
        pipe.set(names[0], cast(bytes, chunks[0]), ex=ttl_s)
        pipe.eval(self._commit, 4, *keys, token)
        state = cast(CommitState, pipe.execute()[-1].decode())
        if state != "stored" and len(names) > 1:
            self._bulk.unlink(*names[1:])
        return state

    def drop(self, digests: Sequence[str]) -> int:
        """Forget these features. Returns how many there were."""
        if not digests:
            return 0
        return int(self._control.unlink(*(self._key("feature", one) for one in digests)))

    def quarantine(self, digest: str, reason: str, *, ttl_s: int) -> None:
        """Drop the value and let nobody read or publish this digest for `ttl_s`."""
        pipe = self._control.pipeline(transaction=False)
        pipe.unlink(self._key("feature", digest))  # first: allowed when memory is full
        pipe.set(self._key("feature-quarantine", digest), reason, ex=ttl_s)
        pipe.execute()

    # what workers tell each other

    def announce(self, recipe: bytes) -> None:
        """Tell render workers how a live answer worker names features; repeat within 90 s."""
        keys = [self._key("feature-recipes")]
        self._eval(self._control, self._announce, keys, LIVE_S, recipe)

    def recipes(self) -> list[bytes]:
        """Recipes of all live answer workers."""
        with self._rest.spared(str(self._control)):
            seconds = self._control.time()[0]
            key = self._key("feature-recipes")
            return cast("list[bytes]", self._control.zrangebyscore(key, seconds - LIVE_S, "+inf"))

    def report(self, owner: str, stats: bytes) -> None:
        """Leave one worker's counters for `glyph-worker cache stats`."""
        self._control.set(self._key("feature-stats", owner), stats, ex=LIVE_S)

    def reports(self) -> dict[str, bytes]:
        """Counters by owner, of all live answer workers."""
        prefix = self._key("feature-stats", "")
        names = [name.decode() for name in self._control.scan_iter(match=prefix + "*")]
        values = cast("list[bytes | None]", self._control.mget(names)) if names else []
        pairs = zip(names, values, strict=True)
        return {name.removeprefix(prefix): value for name, value in pairs if value is not None}

    def put_probe(self, owner: str, value: bytes) -> None:
        """Leave bytes to measure the way back with."""
        self._bulk.set(self._key("feature-probe", owner), value, ex=LIVE_S)

    def get_probe(self, owner: str) -> bytes | None:
        return cast("bytes | None", self._bulk.get(self._key("feature-probe", owner)))

    # upkeep

    def ping(self) -> None:
        self._control.ping()

    def digests(self) -> Iterator[str]:
        """All features stored, in no order, with what comes and goes meanwhile."""
        prefix = self._key("feature", "")
        for name in self._control.scan_iter(match=prefix + "*", count=1_000):
            yield name.decode().removeprefix(prefix)

    def sizes(self, digests: Sequence[str]) -> list[int]:
        """Bytes of each stored value (of a chunked one: of its head); 0 when missing."""
        pipe = self._control.pipeline(transaction=False)
        for digest in digests:
            pipe.strlen(self._key("feature", digest))
        return cast("list[int]", pipe.execute())

    def memory(self) -> dict[str, Any]:
        """The server's own account: used and most bytes, eviction policy, keys evicted."""
        info = self._control.info()
        names = ("used_memory", "maxmemory", "maxmemory_policy", "evicted_keys")
        return {name: info.get(name) for name in names}

    def clear(self) -> int:
        """Delete all features, claims, quarantines, page images and layouts under our prefix."""
        num_deleted = 0
        for pattern in ("feature*", "page:*", "layout:*"):
            batch: list[bytes] = []
            for name in self._control.scan_iter(match=f"{self._prefix}:{pattern}", count=1_000):
                batch.append(name)
                if len(batch) == 1_000:
                    num_deleted += int(self._control.unlink(*batch))
                    batch.clear()
            if batch:
                num_deleted += int(self._control.unlink(*batch))
        return num_deleted

    def _eval(self, client: Server, script: str, keys: Sequence[str], *args: Any) -> Any:
        return client.eval(script, len(keys), *keys, *args)
