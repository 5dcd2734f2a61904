"""One look at the whole queue, for metrics and scalers: who waits, for how long, who works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from glyph_worker.job import JobStatus, Priority
from glyph_worker.queue.messages import queue_keys
from glyph_worker.queue.names import ANSWER_QUEUE, RENDER_QUEUE
from glyph_worker.store.clock import seconds
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.tally import Engine, Sums, Tally
from glyph_worker.store.workers import WorkerStore, load_of

KINDS = ("render", "answer")


@dataclass(frozen=True, slots=True)
class Line:
    """The jobs of one tenant and priority that are not yet published."""

    priority: str
    tenant: str
    num_waiting: int
    oldest_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueState:
    lines: list[Line]
    num_messages: dict[str, int]
    num_unfinished: int
    oldest_s: float
    """Age of the oldest job that is not final."""
    num_dead: int
    num_webhooks: int
    totals: dict[str, int]
    """Jobs ended, by status."""
    num_workers: dict[str, int]
    num_draining: dict[str, int]
    capacity: dict[str, int]
    num_held: dict[str, int]
    memory_bytes: int
    sums: Sums
    engines: list[Engine]
    load: float
    """See load_of."""
    style_steps: int
    """Presets that willing jobs are drawn denser for the load."""


class QueueStateReader:
    """Raises StoreUnavailable, StoreDenied."""

    def __init__(self, client: Server, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._workers = WorkerStore(client, keys)
        self._tally = Tally(client, keys)

    def read(self) -> QueueState:
        """Four round trips, whatever the length of the queue."""
        keys = self._keys
        pipe = self._client.pipeline(transaction=False)
        pipe.zcard(keys.active)
        pipe.zrange(keys.active, 0, 0, withscores=True)
        pipe.zcard(keys.dead)
        pipe.zcard(keys.webhooks)
        pipe.hgetall(keys.totals)
        pipe.info("memory")
        pipe.hget(keys.ladder, "steps")
        pipe.time()
        for queue in (RENDER_QUEUE, ANSWER_QUEUE):
            for name in queue_keys(self._keys, queue):
                pipe.llen(name)
        for priority in Priority:
            pipe.lrange(f"{keys.root}ring:{int(priority)}", 0, -1)
        active, first, dead, webhooks, totals, memory, steps, time, *rest = pipe.execute()
        now = seconds(time)
        per_queue = len(queue_keys(self._keys, RENDER_QUEUE))
        lengths, rings = rest[: 2 * per_queue], rest[2 * per_queue :]
        living = self._workers.living()

        def of(field: str) -> dict[str, int]:
            return {k: sum(int(getattr(i, field)) for i in living if i.kind == k) for k in KINDS}

        return QueueState(
            lines=self._lines(rings, now),
            num_messages={
                RENDER_QUEUE: sum(lengths[:per_queue]),
                ANSWER_QUEUE: sum(lengths[per_queue:]),
            },
            num_unfinished=active,
            oldest_s=max(0.0, now - float(_score(first[0]))) if first else 0.0,
            num_dead=dead,
            num_webhooks=webhooks,
            totals={status.value: int(totals.get(status.value.encode(), 0)) for status in JobStatus
                    if status.final},
            num_workers={k: sum(i.kind == k for i in living) for k in KINDS},
            num_draining=of("draining"),
            capacity={
                k: sum(i.capacity for i in living if i.kind == k and not i.draining) for k in KINDS
            },
            num_held=of("num_running"),
            memory_bytes=int(memory["used_memory"]),
            sums=self._tally.sums(),
            engines=self._tally.engines(),
            load=load_of(active, living),
            style_steps=int(steps or 0),
        )  # fmt: skip

    def _lines(self, rings: list[list[bytes]], now: float) -> list[Line]:
        waiting = [
            (priority, tenant.decode())
            for priority, ring in zip(Priority, rings, strict=True)
            for tenant in ring
        ]
        keys = [f"{self._keys.root}pending:{int(p)}:{tenant}" for p, tenant in waiting]
        pipe = self._client.pipeline(transaction=False)
        for key in keys:
            pipe.llen(key)
            pipe.lindex(key, 0)
        found = pipe.execute()
        heads = found[1::2]
        pipe = self._client.pipeline(transaction=False)
        for head in heads:
            pipe.hget(self._keys.job((head or b"").decode()), "created_at")
        created = cast("list[bytes | None]", pipe.execute())
        return [
            Line(
                priority=priority.name.lower(),
                tenant=tenant,
                num_waiting=number,
                oldest_s=max(0.0, now - float(born)) if born else 0.0,
            )
            for (priority, tenant), number, born in zip(waiting, found[::2], created, strict=True)
        ]


def _score(row: Any) -> float:
    """Of ZRANGE WITHSCORES, in either protocol."""
    return float(row[1])
