"""Keeps messages and records together: publishes again what was lost on its way to a worker.

A worker that dies between taking a message off its list and noting it as taken loses the message
(the transport does the two in turn); so does a broker that loses its last second. The record is
still there: a job that waits, without a message, in two looks in a row, gets a new one. A
needless one does no harm: the claim sees that the job is held or final.
"""

from __future__ import annotations

import structlog
from redis import Redis

from glyph_worker.queue.messages import held_messages
from glyph_worker.queue.names import ANSWER_QUEUE, RENDER_QUEUE
from glyph_worker.store.jobs import JobStore

log = structlog.get_logger(__name__)

WINDOW = 500
SLICE = 1_000
GRACE_S = 1.5


class Reconciler:
    """Called about once a second by every worker; a short lock lets one of them look."""

    def __init__(self, jobs: JobStore, client: Redis, *, lock_key: str) -> None:
        self._jobs = jobs
        self._client = client
        self._lock_key = lock_key
        self._start = 0
        self._suspects: frozenset[str] = frozenset()

    def look(self, owner: str) -> int:
        """One look. Returns how many jobs were published again.

        Raises StoreUnavailable and what redis-py raises.
        """
        # The lock outlives its holder's pause: the same worker looks twice, so it can compare.
        mine = self._client.set(self._lock_key, owner, nx=True, px=3_000)
        if not mine and self._client.get(self._lock_key) != owner.encode():
            self._suspects = frozenset()
            return 0
        self._client.pexpire(self._lock_key, 3_000)
        jobs = self._jobs.unfinished(start=self._start, limit=SLICE)
        self._start = self._start + SLICE if len(jobs) == SLICE else 0
        waiting = {job.job_id: job for job in jobs if job.dispatched and job.waiting_s > GRACE_S}
        if not waiting:
            self._suspects = frozenset()
            return 0
        held = held_messages(self._client, [RENDER_QUEUE, ANSWER_QUEUE], window=WINDOW)
        # In a queue longer than the window only jobs older than all it shows can be missed.
        known = [waiting[i].waiting_s for i in held.ids if i in waiting]
        oldest_s = 0.0 if held.complete else max(known, default=float("inf"))
        missing = frozenset(
            i for i, job in waiting.items() if i not in held.ids and job.waiting_s > oldest_s
        )
        lost = missing & self._suspects
        self._suspects = missing - lost
        for job_id in lost:
            self._jobs.republish(job_id, rendered=waiting[job_id].rendered)
            log.warning("job.republished", job_id=job_id, rendered=waiting[job_id].rendered)
        return len(lost)
