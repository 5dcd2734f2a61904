"""The driver's hands on the broker beside its clients: records, events, messages, leaks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

from chaos.history import Event, event_of
from glyph_worker.queue.messages import num_waiting, unacked_key
from glyph_worker.queue.names import ANSWER_QUEUE, RENDER_QUEUE
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys

LASTING = ("_kombu.", "unacked", "glyph.render", "glyph.answer")
"""First parts, behind the prefix, of keys without a time to live; see store/keys.py."""

OLD = ("_kombu.",)
"""The same of the version before, whose queues had no prefix."""


class Records:
    """Raises StoreUnavailable from every method while the broker is away."""

    def __init__(self, settings: Settings) -> None:
        assert settings.broker_url is not None
        assert settings.cache_server is not None
        self._url = settings.broker_url.get_secret_value()
        self._cache_url = settings.cache_server.get_secret_value()
        self._client = connect(self._url, timeout_s=3.0, num_retries=1)
        self._keys = Keys(settings.key_prefix)
        queue = settings.queue
        self._jobs = JobStore(
            self._client, self._keys, ttl_s=queue.job_ttl_s, lease_s=queue.lease_s
        )
        self._seq = "0"

    def now(self) -> float:
        """By the broker's clock."""
        seconds, micros = self._client.time()
        return seconds + micros / 1e6

    def start_tail(self) -> None:
        """Read events from here on."""
        newest = cast(Any, self._client.xrevrange(self._keys.events, count=1))
        self._seq = newest[0][0].decode() if newest else "0"

    def new_events(self) -> Iterator[Event]:
        """What came since the last call."""
        while True:
            found = cast(Any, self._client.xread({self._keys.events: self._seq}, count=1_000))
            rows = found[0][1] if found else []
            for seq, fields in rows:
                self._seq = seq.decode()
                yield event_of(self._seq, fields)
            if len(rows) < 1_000:
                return

    def fields(self, job_ids: Sequence[str], *names: str) -> list[dict[str, str] | None]:
        """These fields of each record; None where there is none."""
        pipe = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hmget(self._keys.job(job_id), ["status", *names])
        rows = pipe.execute()
        return [
            None
            if row[0] is None
            else {
                name: (raw or b"").decode()
                for name, raw in zip(("status", *names), row, strict=True)
            }
            for row in rows
        ]

    def leaks(self) -> list[str]:
        """Keys without a time to live that are on no list, and sets that should be empty by now."""
        found = []
        kombus = tuple(f"{self._keys.root}{part}" for part in LASTING)
        lasting = (*kombus, *OLD, self._keys.active, self._keys.webhooks)
        servers = {self._url: lasting, self._cache_url: ()}
        for url, allowed in servers.items():
            client = connect(url, timeout_s=5.0)
            for raw in client.scan_iter(count=1_000):
                key = raw.decode(errors="replace")
                if client.ttl(raw) == -1 and not key.startswith(allowed):
                    found.append(f"{key}: no time to live")
            client.close()
        return found

    def leftovers(self, job_ids: Sequence[str]) -> list[str]:
        """Jobs of ours that are final and still counted as unfinished."""
        pipe = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.zscore(self._keys.active, job_id)
        scores = pipe.execute()
        return [
            f"{self._keys.active}: {job_id} is final"
            for job_id, score in zip(job_ids, scores, strict=True)
            if score is not None
        ]

    def repeat(self, job_id: str, *, rendered: bool) -> None:
        """A second message for a job."""
        self._jobs.republish(job_id, rendered=rendered)

    def messages(self) -> list[str]:
        """A line for each message on the broker: those taken by workers with their lease's age."""
        now = self.now()
        name = unacked_key(self._keys)
        taken = cast("dict[bytes, bytes]", self._client.hgetall(name))
        leases = dict(cast(Any, self._client.zrange(f"{name}_index", 0, -1, withscores=True)))
        lines = [
            f"{queue}: {number} waiting"
            for queue in (RENDER_QUEUE, ANSWER_QUEUE)
            if (number := num_waiting(self._client, self._keys, queue))
        ]
        for tag, raw in taken.items():
            headers = json.loads(raw)[0]["headers"]
            age = f"{now - leases[tag]:.1f} s ago" if tag in leases else "never"
            lines.append(f"unacked: {headers['task']} of {headers['id']}, renewed {age}")
        return lines
