"""News of many jobs over one connection: whoever waits in one event loop shares it.

Holds no thread, and no connection while nobody waits. `follow` gives what an answer grew by,
`ended` returns with a job's end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.asyncio
import structlog

from glyph_worker.codec import UnreadableEnvelope
from glyph_worker.errors import GlyphError
from glyph_worker.job import FINAL, Delta
from glyph_worker.store.aio import twin_of
from glyph_worker.store.connection import Server, translated
from glyph_worker.store.keys import Keys
from glyph_worker.store.streams import MAX_READ, Cursor, Row, order

log = structlog.get_logger(__name__)

BLOCK_MS, GAP_S = 50, 0.005
"""A poll waits so long for news; one that found some leaves time for more to come together."""
AGAIN_S = 1.0
"""After the server failed."""
_FINAL = frozenset(status.value.encode() for status in FINAL)


@dataclass(eq=False)
class _Follower:
    job_id: str
    cursor: Cursor
    after: str = ""
    """What was read for it; its cursor moves only with what it takes."""
    fresh: list[Row] = field(default_factory=list)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    error: GlyphError | None = None


@dataclass(eq=False)
class _Waiter:
    job_id: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher:
    """One per event loop. Two hundred waits cost one round trip per poll."""

    def __init__(self, client: Server, keys: Keys, *, linger_s: float = 0.0) -> None:
        """`client` lends its settings; it is not used. `linger_s`: how long the connection is kept
        when nobody waits any more."""
        self._client = client
        self._keys = keys
        self._linger_s = linger_s
        self._wanted = asyncio.Event()
        self._followers: set[_Follower] = set()
        self._waiters: set[_Waiter] = set()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def num_watching(self) -> int:
        return len(self._followers) + len(self._waiters)

    @property
    def closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Every wait and every stream ends soon; clients come back elsewhere."""
        self._closing = True
        for follower in self._followers:
            follower.ready.set()
        for waiter in self._waiters:
            waiter.ended.set()

    async def stop(self) -> None:
        self.close()
        if (task := self._task) is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def ended(self, job_id: str, *, within_s: float) -> None:
        """Return when the job is final or gone, the time is over or the watcher closes."""
        waiter = _Waiter(job_id)
        self._waiters.add(waiter)
        self._start()
        try:
            if not self._closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(waiter.ended.wait(), within_s)
        finally:
            self._waiters.discard(waiter)

    async def follow(
        self, job_id: str, cursor: Cursor, *, idle_s: float
    ) -> AsyncGenerator[list[Delta]]:
        """What the answer grew by, in order, the last delta with its final status; moves the
        reader's cursor. A follower that does not read gets no more than one reply; the rest stays
        in Redis for it.

        An empty list after `idle_s` without news. Ends with the job or the watcher. Raises
        StoreUnavailable, and UnreadableEnvelope for a stream that is none of ours.
        """
        follower = _Follower(job_id, cursor, cursor.after)
        self._followers.add(follower)
        self._start()
        try:
            while not self._closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(follower.ready.wait(), idle_s)
                follower.ready.clear()
                if follower.error is not None:
                    raise follower.error
                rows, follower.fresh = follower.fresh, []
                try:
                    yield cursor.take(rows)
                except ValueError as exc:
                    # This stream alone is broken.
                    raise UnreadableEnvelope(f"job {job_id}'s stream: {exc}") from exc
                if cursor.ended:
                    return
        finally:
            self._followers.discard(follower)

    def _start(self) -> None:
        self._wanted.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._poll())

    async def _is_wanted(self) -> bool:
        if not self.num_watching and self._linger_s:
            self._wanted.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), self._linger_s)
        return bool(self.num_watching)

    async def _poll(self) -> None:
        """As long as anybody waits."""
        client = twin_of(self._client)
        try:
            while await self._is_wanted():
                try:
                    await self._look(client)
                except GlyphError as exc:
                    log.warning("watcher.missed", error=exc.code)
                    await self._failed(exc)
                except Exception as exc:  # the loop's edge: it serves all who wait
                    log.exception("watcher.crashed")
                    await self._failed(UnreadableEnvelope(f"the stream cannot be read: {exc}"))
        finally:
            self._task = None  # from here on a new task is begun, while this one closes
            try:
                await client.aclose()
            except asyncio.CancelledError:
                # The loop ends, and took back what closing had only begun.
                await client.aclose()
                raise

    async def _failed(self, exc: GlyphError) -> None:
        for follower in self._followers:
            follower.error = exc
            follower.ready.set()
        await asyncio.sleep(AGAIN_S)

    async def _look(self, client: redis.asyncio.Redis) -> None:
        hungry = [f for f in self._followers if not f.fresh]
        await self._locate(client, [f for f in hungry if not f.cursor.found])
        afters: dict[str, str] = {}
        for follower in hungry:
            known = afters.get(follower.job_id)
            if known is None or order(follower.after) < order(known):
                afters[follower.job_id] = follower.after
        ids = list({waiter.job_id for waiter in self._waiters})
        entries, statuses = await self._read(client, afters, ids)
        for follower in hungry:
            self._feed(follower, entries.get(follower.job_id, []))
        for waiter in self._waiters:
            # No record any more is an end too: the next look says so.
            if waiter.job_id in statuses and (statuses[waiter.job_id] or b"succeeded") in _FINAL:
                waiter.ended.set()
        await asyncio.sleep(GAP_S if afters else BLOCK_MS / 1e3)

    async def _locate(self, client: redis.asyncio.Redis, followers: list[_Follower]) -> None:
        """Those who go on where they broke off: the server may have lost what they read last."""
        if not followers:
            return
        with translated(self._client.url):
            async with client.pipeline(transaction=False) as pipe:
                for follower in followers:
                    after = follower.cursor.after
                    pipe.xrange(self._keys.stream(follower.job_id), after, after)
                replies: list[Any] = await pipe.execute()
        for follower, rows in zip(followers, replies, strict=True):
            follower.cursor.locate(rows)
            follower.after = follower.cursor.after

    @staticmethod
    def _feed(follower: _Follower, rows: list[Row]) -> None:
        fresh = [row for row in rows if order(row[0].decode()) > order(follower.after)]
        if fresh:
            follower.fresh, follower.after = fresh, fresh[-1][0].decode()
            follower.ready.set()

    async def _read(
        self, client: redis.asyncio.Redis, afters: dict[str, str], ids: list[str]
    ) -> tuple[dict[str, Any], dict[str, bytes | None]]:
        """Entries by job, statuses by job, in one round trip."""
        names = {self._keys.stream(job_id).encode(): job_id for job_id in afters}
        with translated(self._client.url):
            async with client.pipeline(transaction=False) as pipe:
                for job_id in ids:
                    pipe.hget(self._keys.job(job_id), "status")
                if afters:
                    streams: dict[Any, Any] = {
                        self._keys.stream(job_id): after for job_id, after in afters.items()
                    }
                    pipe.xread(streams, count=MAX_READ, block=BLOCK_MS)
                replies: list[Any] = await pipe.execute()
        found = replies.pop() if afters else []
        entries = {names[name]: rows for name, rows in found or []}
        return entries, dict(zip(ids, replies, strict=True))
