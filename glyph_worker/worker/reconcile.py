"""Keeps messages and records together: publishes again what was lost on its way to a worker.

A worker that dies between taking a message off its list and noting it as taken loses the message
(the transport does the two in turn); so does a broker that loses its last second. The record is
still there: a job that waits, without a message, in two looks in a row, gets a new one. So does
one whose message a living worker has kept for a whole lease while nobody works on the job: the
child that was to do it hangs. A needless message does no harm: the claim sees that the job is
held or final.
"""

from __future__ import annotations

import time

import structlog
from redis import Redis

from glyph_worker.queue.messages import held_messages
from glyph_worker.queue.names import ANSWER_QUEUE, RENDER_QUEUE
from glyph_worker.queue.takeover import Takeover
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys

log = structlog.get_logger(__name__)

WINDOW = 500
SLICE = 1_000
GRACE_S = 1.5


class Reconciler:
    """Called about once a second by every worker; a short lock lets one of them look. It takes over
    what waits under older names as well."""

    def __init__(self, jobs: JobStore, client: Redis, keys: Keys, *, lease_s: float) -> None:
        self._jobs = jobs
        self._client = client
        self._keys = keys
        self._lock_key = keys.reconciler
        self._lease_s = lease_s
        self._takeover = Takeover(jobs, client, keys, lease_s=lease_s)
        self._start = 0
        self._suspects: dict[str, float] = {}
        """When each was first seen to wait on no queue."""

    def poll(self, owner: str) -> int:
        """One look. Returns how many jobs were published again.

        Raises StoreUnavailable, StoreFull or StoreDenied.
        """
        # The lock outlives its holder's pause: the same worker looks twice, so it can compare.
        mine = self._client.set(self._lock_key, owner, nx=True, px=3_000)
        if not mine and self._client.get(self._lock_key) != owner.encode():
            self._suspects = {}
            return 0
        self._client.pexpire(self._lock_key, 3_000)
        self._takeover.poll()
        jobs = self._jobs.unfinished(start=self._start, limit=SLICE)
        self._start = self._start + SLICE if len(jobs) == SLICE else 0
        waiting = {job.job_id: job for job in jobs if job.dispatched and job.waiting_s > GRACE_S}
        if not waiting:
            self._suspects = {}
            return 0
        held = held_messages(self._client, self._keys, [RENDER_QUEUE, ANSWER_QUEUE], window=WINDOW)
        # In a queue longer than the window only jobs older than all it shows can be missed.
        known = [waiting[i].waiting_s for i in held.waiting if i in waiting]
        oldest_s = 0.0 if held.complete else max(known, default=float("inf"))
        lost, now = [], time.monotonic()
        suspects, self._suspects = self._suspects, {}
        for job_id, job in waiting.items():
            taken = job_id in held.taken
            if job_id in held.waiting or (not taken and job.waiting_s <= oldest_s):
                continue
            since = suspects.get(job_id, now)
            if job_id in suspects and now - since >= (self._lease_s if taken else 0.0):
                lost.append(job_id)
            else:
                self._suspects[job_id] = since
        for job_id in lost:
            self._jobs.republish(job_id, rendered=waiting[job_id].rendered)
            log.warning("job.republished", job_id=job_id, rendered=waiting[job_id].rendered)
        return len(lost)
