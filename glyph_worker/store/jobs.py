"""The truth about every job: one hash per job, changed only by the scripts in lua/."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from glyph_worker import codec
from glyph_worker.checked_text import is_text, shown
from glyph_worker.errors import DeadlinePassed, Poisonous, UnknownJob
from glyph_worker.job import Answer, Job, JobStatus, Progress, Stage
from glyph_worker.store.clock import server_time
from glyph_worker.store.connection import Server
from glyph_worker.store.job_record import (
    ClaimedJob,
    Record,
    claimed_job,
    job_of,
    outcome_of,
    progress_fields,
)
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts, flat

MAX_STRIKES = 3
"""Workers that may die at work on one job before it is filed as dead."""


class ClaimResult(StrEnum):
    """What a claim found."""

    CLAIMED = "claimed"
    UNKNOWN = "unknown"
    """No record: expired, or never submitted."""
    FINAL = "final"
    CANCELLED = "cancelled"
    HELD = "held"
    """A living worker holds it; this message is a duplicate."""
    PASSED = "passed"
    """Rendered already, it waits for its answer; this message is a duplicate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """One job that is not final, as the reconciler sees it."""

    job_id: str
    dispatched: bool
    """It should have a message; else it waits for its tenant's turn."""
    rendered: bool
    """Its message belongs on the answer queue, not on the render queue."""
    waiting_s: float
    """Since it was queued, or since its holder's lease ran out; negative while a lease runs."""


class JobStore:
    """Records on the broker's server. Thread-safe; every method is one or two round trips.

    Raises StoreUnavailable, StoreFull or StoreDenied from every method.
    """

    def __init__(
        self,
        client: Server,
        keys: Keys,
        *,
        ttl_s: int,
        lease_s: float,
        window: int = 0,
    ) -> None:
        """`window`: messages that may wait on the queues; 0, and a claim lets no others follow."""
        self._client = client
        self._keys = keys
        self._ttl_s = ttl_s
        # One second shorter than the broker's, so that a message that comes back because its
        # worker died never finds the dead worker's lease on the record still running.
        self._lease_s = max(1.0, lease_s - 1)
        self._window = window
        self._run = Scripts(client, keys, ttl_s=ttl_s)

    # Reading -----------------------------------------------------------------------------------

    def record(self, job_id: str, *, tenant: str | None = None) -> Record:
        """The raw hash. Raises UnknownJob, also for another tenant's job."""
        record = cast(Record, self._client.hgetall(self._key(job_id)))
        if not record or (tenant is not None and record.get(b"tenant") != tenant.encode()):
            raise UnknownJob(
                f"no job {job_id!r} here: never submitted, or over its time to live "
                f"of {self._ttl_s} s",
                job_id=job_id,
            )
        return record

    def get(self, job_id: str, *, tenant: str | None = None) -> Job:
        """Raises UnknownJob."""
        return job_of(job_id, self.record(job_id, tenant=tenant))

    def get_many(self, job_ids: Sequence[str], *, tenant: str | None = None) -> list[Job | None]:
        """In one round trip; None where there is no record (or it is another tenant's)."""
        known = [job_id for job_id in job_ids if is_text(job_id)]
        pipe = self._client.pipeline(transaction=False)
        for job_id in known:
            pipe.hgetall(self._keys.job(job_id))
        records = dict(zip(known, pipe.execute(), strict=True))
        jobs = [
            job_of(job_id, records[job_id]) if is_text(job_id) and records[job_id] else None
            for job_id in job_ids
        ]
        return [job if job and tenant in (None, job.tenant) else None for job in jobs]

    def _key(self, job_id: str) -> str:
        """Raises UnknownJob for what no job's id can be."""
        if not is_text(job_id):
            raise UnknownJob(f"{shown(job_id)} is no job's id; ids are text")
        return self._keys.job(job_id)

    def answer(self, job_id: str) -> Answer | None:
        raw = cast("bytes | None", self._client.hget(self._keys.job(job_id), "answer"))
        return None if raw is None else Answer.from_fields(codec.unpack("answer", raw))

    def outcome(self, job_id: str, *, tenant: str) -> tuple[Job, Answer | None, bytes]:
        """The job, its answer if there is one and what its surface noted, in one round trip.

        Raises UnknownJob.
        """
        record = self.record(job_id, tenant=tenant)
        return outcome_of(job_id, record)

    def outcomes(
        self, job_ids: Sequence[str], *, tenant: str
    ) -> list[tuple[Job, Answer | None, bytes] | None]:
        """The same of many; None where there is no record (or it is another tenant's)."""
        pipe = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hgetall(self._keys.job(job_id))
        records = cast("list[Record]", pipe.execute())
        return [
            outcome_of(job_id, record) if record.get(b"tenant") == tenant.encode() else None
            for job_id, record in zip(job_ids, records, strict=True)
        ]

    def newest(self, limit: int) -> list[str]:
        """Ids of jobs that are not final, newest first."""
        return self._ids(self._keys.active, limit)

    def dead(self, limit: int) -> list[str]:
        """Ids of poisonous jobs, newest first."""
        return self._ids(self._keys.dead, limit)

    def beginning_with(self, prefix: str, *, tenant: str | None = None) -> list[str]:
        """Ids of the kept jobs (of this tenant) that begin so, sorted; `prefix` holds no wildcard.

        Looks at every key: for people who type, not for programs.
        """
        start = len(self._keys.job(""))
        pattern = self._keys.job(f"{prefix}*")
        found = sorted(raw.decode()[start:] for raw in self._client.scan_iter(pattern, count=1_000))
        if tenant is None:
            return found
        jobs = self.get_many(found, tenant=tenant)
        return [job.id for job in jobs if job is not None]

    def _ids(self, key: str, limit: int) -> list[str]:
        found = cast("list[bytes]", self._client.zrevrange(key, 0, limit - 1))
        return [raw.decode() for raw in found]

    # Ending what nobody holds --------------------------------------------------------------------

    def cancel(self, job_id: str, *, tenant: str) -> str:
        """Returns `cancelled`, `requested`, `final` or `unknown`."""
        self._key(job_id)
        return str(self._run("cancel", job_id, tenant).decode())

    # Workers -----------------------------------------------------------------------------------

    def claim(
        self, job_id: str, *, owner: str, stage: Stage
    ) -> tuple[ClaimResult, ClaimedJob | None]:
        """Take the right to work on a job. The order is there when the verdict is CLAIMED.

        The next jobs' messages follow this one's.
        """
        verdict, attempt, strikes, *found = self._run(
            "claim", job_id, owner, self._lease_s, stage.value, MAX_STRIKES,
            codec.pack("error", Poisonous.after(MAX_STRIKES).to_wire()),
            codec.pack("error", DeadlinePassed.before_claim().to_wire()), self._window,
        )  # fmt: skip
        if verdict != b"claimed":
            return ClaimResult(verdict.decode()), None
        record = dict(zip(found[0][::2], found[0][1::2], strict=True))
        return ClaimResult.CLAIMED, claimed_job(
            job_id, record, attempt=int(attempt), owner=owner, strikes=int(strikes),
            ahead_s=float(found[1]) - time.monotonic(),
        )  # fmt: skip

    def peek(self, job_id: str) -> ClaimedJob:
        """The order as a worker had it, without any right to work on it. Raises UnknownJob."""
        record = self.record(job_id)
        ahead_s = server_time(self._client) - time.monotonic()
        return claimed_job(job_id, record, attempt=0, owner="nobody", strikes=0, ahead_s=ahead_s)

    def admit(self, claimed: ClaimedJob, *, batch_mates: Sequence[str]) -> bool | None:
        """From here on a death of this answer worker counts as a strike against the job."""
        return self._update(claimed, {"admitted": "1", "mates": " ".join(batch_mates)})

    def update(
        self, claimed: ClaimedJob, *, stage: Stage | None = None, progress: Progress | None = None
    ) -> bool | None:
        """Write progress, renew the lease. True: go on; False: a cancel is asked; None: fenced."""
        fields: dict[str, Any] = {} if stage is None else {"stage": stage.value}
        return self._update(claimed, fields | progress_fields(progress))

    def _update(self, claimed: ClaimedJob, fields: dict[str, Any]) -> bool | None:
        found = int(
            self._run(
                "update",
                claimed.job_id,
                claimed.attempt,
                claimed.owner,
                self._lease_s,
                *flat(fields),
            )
        )
        return {1: True, 2: False}.get(found)

    def hand_over(self, claimed: ClaimedJob, *, num_pages: int, notes: Mapping[str, float]) -> bool:
        """Queue the job for the answer stage, message and all. False when fenced off."""
        fields = {"stage": Stage.ENCODING.value, "num_pages": num_pages} | {
            f"note:{name}": value for name, value in notes.items()
        }
        return self._release(claimed, handed_over=True, fields=fields)

    def hand_back(self, claimed: ClaimedJob) -> bool:
        """Queue the job again, unfinished. False when fenced off."""
        return self._release(claimed, handed_over=False, fields={})

    def _release(self, claimed: ClaimedJob, *, handed_over: bool, fields: dict[str, Any]) -> bool:
        args = [claimed.job_id, claimed.attempt, claimed.owner, int(handed_over), *flat(fields)]
        return int(self._run("release", *args)) == 1

    def succeed(
        self, claimed: ClaimedJob, answer: Answer, progress: Progress | None = None
    ) -> bool:
        """False when fenced off or already final: the first answer stays."""
        fields = {"answer": codec.pack("answer", answer.to_fields())} | progress_fields(progress)
        return self._commit(claimed.job_id, claimed, JobStatus.SUCCEEDED, fields)

    def fail(self, job_id: str, error: dict[str, Any], claimed: ClaimedJob | None = None) -> bool:
        """End a job with an error; without an order, only one that nobody holds."""
        return self._commit(
            job_id, claimed, JobStatus.FAILED, {"error": codec.pack("error", error)}
        )

    def end_cancelled(self, claimed: ClaimedJob) -> bool:
        return self._commit(claimed.job_id, claimed, JobStatus.CANCELLED, {"cancel_requested": "1"})

    def _commit(
        self, job_id: str, claimed: ClaimedJob | None, status: JobStatus, fields: dict[str, Any]
    ) -> bool:
        attempt, owner = ("", "") if claimed is None else (claimed.attempt, claimed.owner)
        return int(self._run("commit", job_id, attempt, owner, status.value, *flat(fields))) == 1

    # The reconciler ------------------------------------------------------------------------------

    def republish(self, job_id: str, *, rendered: bool) -> None:
        """A new message on the render or the answer queue. A needless one does no harm."""
        self._run("republish", job_id, int(rendered))

    def adopt(self, job_id: str, *, old_list: str, raw: bytes, queue: str) -> int:
        """Move a message of ours from a list of before to `queue`.

        Returns 1 moved, 0 dropped (its job is final) or gone meanwhile, -1 not ours, and left.
        """
        return int(self._run("adopt", job_id, old_list, raw, queue))

    def unfinished(self, *, start: int, limit: int) -> list[Unfinished]:
        """A slice of the jobs that are not final, oldest first; fails those past their deadline."""
        late = codec.pack("error", DeadlinePassed.before_claim().to_wire())
        now, *rows = self._run("unfinished", start, limit, late)
        jobs = []
        for at in range(0, len(rows), 7):
            job_id, status, stage, queued_at, lease_until, over, dispatched = rows[at : at + 7]
            since = queued_at if status == b"queued" else lease_until
            jobs.append(
                Unfinished(
                    job_id=job_id.decode(),
                    dispatched=dispatched == b"1",
                    rendered=over == b"1" or stage not in (b"", b"rendering"),
                    waiting_s=float(now) - float(since or 0),
                )
            )
        return jobs
