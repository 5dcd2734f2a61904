"""Which workers live: each announces itself and is forgotten when it falls silent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from glyph_worker import codec
from glyph_worker.store.clock import seconds, server_time
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys

ANNOUNCE_S = 1.0
"""How often a worker says that it lives."""

SILENT_S = 10.0
"""A worker that was silent for so long counts as gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerInfo:
    name: str
    kind: str
    """`render` or `answer`."""
    pid: int
    capacity: int
    """Jobs it works on at once."""
    num_running: int
    draining: bool
    started_at: float = 0.0
    """By the server's clock, as `seen_at`; both are set when it is announced."""
    seen_at: float = 0.0
    model: str = ""
    """Name of its checkpoint: the folder's, or `nano`."""
    style: str = ""
    """Name of the style that it resolves `auto` to, and the style's digest."""
    style_digest: str = ""
    backend: str = ""
    """How an answer worker's engine computes: its attention kernels, `+graphs` where replayed."""
    engine: str = ""
    """Whose engine that is: `own`, `vllm` or `remote`."""
    lacks: tuple[str, ...] = ()
    """Job options that it cannot follow."""
    refusals: tuple[str, ...] = ()
    """Faster ways that were wanted and cannot be used there, each with its reason."""
    max_tokens: int = 0
    """Most tokens of one sequence on an answer worker, by window and KV memory; 0: not said."""
    pool_tokens: int = 0
    """Tokens whose keys and values it holds at once."""
    page_marks: int = 0
    """Tokens beside the visual ones that a page costs there."""
    identity: str = ""
    """First 12 digits of the digest of an answer worker's checkpoint."""

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> WorkerInfo:
        """Of an older or a newer release: what it does not say has its default, more is dropped."""
        known = {name: fields[name] for name in cls.__dataclass_fields__ if name in fields}
        lists = {name: tuple(known.get(name, ())) for name in ("refusals", "lacks")}
        return cls(**known | lists)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ability:
    """What an answer worker can be asked for."""

    engine: str
    lacks: tuple[str, ...]
    """As in its WorkerInfo."""


def by_style(workers: Iterable[WorkerInfo]) -> dict[str, list[WorkerInfo]]:
    """Who draws `auto` in which style, by its digest. More than one: pages are drawn twice."""
    found: dict[str, list[WorkerInfo]] = {}
    for info in workers:
        if info.style_digest:
            found.setdefault(info.style_digest, []).append(info)
    return found


def describe_styles(styles: dict[str, list[WorkerInfo]]) -> str:
    """`nano (1a2b3c4d5e6f): render of host-1, render of host-2; balanced (…): answer of host-3`."""
    parts = []
    for digest, infos in sorted(styles.items()):
        who = sorted({f"{info.kind} of {info.name.partition(':')[0]}" for info in infos})
        more = f" and {len(who) - 4} more" if len(who) > 4 else ""
        parts.append(f"{infos[0].style} ({digest[:12]}): {', '.join(who[:4])}{more}")
    return "; ".join(parts)


def load_of(num_unfinished: int, workers: Iterable[WorkerInfo]) -> float:
    """(queued + running) / capacity of the answer workers: what a scaler holds at 1.

    Busy jobs count, so a scaler never takes a pod away under a job that runs; without any worker
    the capacity counts as one job, so that the first one is started.
    """
    capacity = sum(info.capacity for info in workers if info.kind == "answer" and not info.draining)
    return num_unfinished / max(1, capacity)


class WorkerStore:
    def __init__(self, client: Server, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def announce(self, info: WorkerInfo, *, up_s: float) -> None:
        """`up_s`: seconds since the worker's start."""
        now = server_time(self._client)
        info = replace(info, started_at=now - up_s, seen_at=now)
        pipe = self._client.pipeline()
        pipe.hset(self._keys.workers, info.name, codec.pack("worker", asdict(info)))
        pipe.expire(self._keys.workers, 3600)
        if info.kind == "answer":
            pipe.zadd(self._keys.abilities, {_packed(info): now})
            pipe.zremrangebyscore(self._keys.abilities, "-inf", now - 3600)
            pipe.expire(self._keys.abilities, 3600)
        pipe.execute()

    def leave(self, name: str) -> None:
        self._client.hdel(self._keys.workers, name)

    def living(self) -> list[WorkerInfo]:
        """Those heard of in the last SILENT_S seconds; forgets the others."""
        pipe = self._client.pipeline(transaction=False)
        pipe.hgetall(self._keys.workers)
        pipe.time()
        rows, now = pipe.execute()
        oldest = seconds(now) - SILENT_S
        infos = [WorkerInfo.from_fields(codec.unpack("worker", raw)) for raw in rows.values()]
        gone = [info.name for info in infos if info.seen_at < oldest - 50]
        if gone:
            self._client.hdel(self._keys.workers, *gone)
        return sorted((i for i in infos if i.seen_at >= oldest), key=lambda i: (i.kind, i.name))

    def abilities(self) -> list[Ability]:
        """Of the answer workers heard of in the last SILENT_S seconds, each different one once.

        All that a producer may read of workers: neither their names nor what they serve.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.zrangebyscore(self._keys.abilities, "-inf", "+inf", withscores=True)
        pipe.time()
        rows, now = pipe.execute()
        oldest = seconds(now) - SILENT_S
        heard = [codec.unpack("ability", raw) for raw, seen_at in rows if seen_at >= oldest]
        return [Ability(engine=one["engine"], lacks=tuple(one["lacks"])) for one in heard]


def _packed(info: WorkerInfo) -> bytes:
    return codec.pack("ability", {"engine": info.engine, "lacks": sorted(info.lacks)})
