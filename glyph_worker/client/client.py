"""Producers' side: submit · status · result · wait · cancel. Light."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from glyph_worker import codec
from glyph_worker.client.aio import AsyncClient
from glyph_worker.client.checks import check_tenant, check_ttl, checked
from glyph_worker.document import digest
from glyph_worker.errors import (
    DeadlineTooShort,
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobFinished,
    StoreUnavailable,
    UnknownJob,
    WaitTimeout,
)
from glyph_worker.job import (
    Answer,
    Delta,
    Job,
    JobOptions,
    JobStatus,
    Priority,
    estimated_cost,
)
from glyph_worker.settings import Settings
from glyph_worker.store.backlog import Backlog, Submission
from glyph_worker.store.blobs import BlobStore
from glyph_worker.store.connection import connect
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.streams import StreamStore
from glyph_worker.traces import current_traceparent

if TYPE_CHECKING:
    import redis

# Where nothing wakes a waiter it looks again: a tenth late at most, and a long wait costs next to
# nothing.
_LATE, _FASTEST_POLL_S, _SLOWEST_POLL_S = 0.1, 0.01, 0.25


class Client:
    """One per process; thread-safe. Nothing is sent before the first call.

    Every method raises StoreUnavailable, StoreFull or StoreDenied when Redis cannot serve it.
    """

    def __init__(self, settings: Settings, *, tenant: str = "default") -> None:
        """`tenant` owns the jobs; other tenants' are unknown to this client."""
        check_tenant(tenant)
        self.tenant = tenant
        if settings.broker_url is None:
            raise StoreUnavailable(
                "no broker: set GLYPH_BROKER_URL=redis://host:port/db "
                "(or try `glyph-worker up`, which starts one and prints its URL)"
            )
        self._settings = settings
        self._url = settings.broker_url.get_secret_value()

    @classmethod
    def from_env(cls, *, tenant: str = "default", **overrides: Any) -> Client:
        """From GLYPH_BROKER_URL, GLYPH_CACHE_URL, … Raises InvalidSetting."""
        return cls(Settings.load(**overrides), tenant=tenant)

    def submit(
        self,
        document: str | bytes,
        question: str,
        *,
        idempotency_key: str | None = None,
        priority: str = "interactive",
        deadline_s: float | None = None,
        ttl_s: int | None = None,
        webhook: str | None = None,
        **options: Any,
    ) -> Job:
        """Queue one question about one document and return at once.

        `idempotency_key`: the same key and payload give the same job, however often they are sent.
        `priority`: `interactive` or `bulk`. `deadline_s`: seconds from now after which the answer
        is worth nothing. `ttl_s`: how long the record outlives the job's end. `webhook`: a URL the
        gateway calls at the end. `options` are JobOptions' fields: max_new_tokens, temperature,
        top_p, top_k, seed, stop, style, min_quality.

        Raises EmptyDocument, EmptyQuestion, InvalidEncoding, DocumentTooLarge, QuestionTooLong,
        InvalidOption, Conflict, QueueFull, QuotaExceeded, DeadlineTooShort.
        """
        return self.submit_many(
            document,
            [question],
            idempotency_key=idempotency_key,
            priority=priority,
            deadline_s=deadline_s,
            ttl_s=ttl_s,
            webhook=webhook,
            **options,
        )[0]

    def submit_many(
        self,
        document: str | bytes,
        questions: Sequence[str],
        *,
        idempotency_key: str | None = None,
        priority: str = "interactive",
        deadline_s: float | None = None,
        ttl_s: int | None = None,
        webhook: str | None = None,
        **options: Any,
    ) -> list[Job]:
        """One job per question; the document travels once. All are checked before any is queued.

        When one is refused for want of room, those before it stay queued; with an
        `idempotency_key` the whole call can simply be sent again.
        """
        source, chosen = checked(document, questions, options, self._settings.limits)
        urgency = Priority.of(priority)
        check_ttl(ttl_s)
        cost = estimated_cost(len(source.text), chosen.max_new_tokens)
        if deadline_s is not None:
            self._check_deadline(deadline_s, cost * len(questions), urgency)
        self._blobs.put(source)
        jobs = []
        for number, question in enumerate(questions):
            payload = codec.pack("payload", {"question": question, **chosen.to_fields()})
            key = f"{number}:{idempotency_key}" if idempotency_key else ""
            jobs.append(
                Submission(
                    job_id=str(uuid.uuid4()),
                    tenant=self.tenant,
                    priority=urgency,
                    document_digest=source.digest,
                    question=question,
                    options=chosen,
                    cost=cost,
                    ttl_s=ttl_s or self._settings.queue.job_ttl_s,
                    deadline_at=None if deadline_s is None else time.time() + deadline_s,
                    webhook=webhook or "",
                    idempotency_key=digest("idempotency", key) if key else "",
                    payload_digest=digest("payload", source.digest, payload),
                    traceparent=current_traceparent(),
                )
            )
        return [self._enqueue(job) for job in jobs]

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job's question again, as a new job.

        Raises UnknownJob, JobExpired (its document is no longer kept), InvalidOption for a job
        that succeeded or is not final.
        """
        record = self._jobs.record(job_id, tenant=self.tenant)
        status = JobStatus(record[b"status"].decode())
        if status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise InvalidOption(f"job {job_id} is {status}; only failed or cancelled jobs go again")
        document = self._blobs.get(record[b"document_digest"].decode())
        chosen = JobOptions.of(codec.unpack("options", record[b"options"]))
        return self._enqueue(
            Submission(
                job_id=str(uuid.uuid4()),
                tenant=self.tenant,
                priority=Priority(int(record[b"priority"])),
                document_digest=document.digest,
                question=record[b"question"].decode(),
                options=chosen,
                cost=float(record[b"cost"]),
                ttl_s=int(record[b"ttl_s"]),
                webhook=record.get(b"webhook", b"").decode(),
                retry_of=job_id,
                traceparent=current_traceparent(),
            )
        )

    def status(self, job_id: str) -> Job:
        """What is true of the job now, with its place in line and its ETA. Raises UnknownJob."""
        job = self._jobs.get(job_id, tenant=self.tenant)
        if job.status.final:
            return job
        outlook = self._backlog.outlook(job_id)
        waits = outlook.num_before >= 0 and job.status is JobStatus.QUEUED
        return dataclasses.replace(
            job, position=outlook.num_before if waits else None, eta=outlook.eta
        )

    def status_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """In one round trip; None for an unknown id."""
        return self._jobs.get_many(job_ids, tenant=self.tenant)

    def result(self, job_id: str) -> Answer | None:
        """The answer, or None while the job is not final.

        Raises UnknownJob, JobFailed (with the stored code and message), JobCancelled.
        """
        job = self._jobs.get(job_id, tenant=self.tenant)
        if job.status is JobStatus.SUCCEEDED:
            answer = self._jobs.answer(job_id)
            if answer is None:  # it expired between the two reads
                raise UnknownJob(f"no job {job_id!r} any more", job_id=job_id)
            return answer
        if job.status is JobStatus.FAILED:
            error = job.error or {}
            raise JobFailed(
                error.get("message", "failed without a reason"),
                code=error.get("code", "internal"),
                job_id=job_id,
                **error.get("details", {}),
            )
        if job.status is JobStatus.CANCELLED:
            raise JobCancelled(f"job {job_id} was cancelled", job_id=job_id)
        return None

    def wait(self, job_id: str, *, timeout: float | None = None) -> Answer:
        """Block until the job is final. Raises what `result` raises, and WaitTimeout (seconds)."""
        after = "0"
        for pause_s in self._polls(job_id, timeout):
            answer = self.result(job_id)
            if answer is not None:
                return answer
            # Instead of a sleep: the end is an entry of the job's stream, and ends the pause.
            for delta in self._streams.read(job_id, after, block_s=pause_s):
                after = delta.seq
        raise AssertionError("unreachable: _polls ends by raising")

    def cancel(self, job_id: str) -> Job:
        """Take a job back: at once while it is queued, within a step while it runs. Durable.

        Raises UnknownJob, and JobFinished for a job that is final already.
        """
        outcome = self._jobs.cancel(job_id, tenant=self.tenant)
        job = self._jobs.get(job_id, tenant=self.tenant)  # raises UnknownJob
        if outcome == "final":
            raise JobFinished(f"job {job_id} is {job.status} already", status=job.status.value)
        return job

    def stream(self, job_id: str, *, after: str = "0") -> Iterator[Delta]:
        """The answer's text as it grows, up to the entry that has the final status.

        After an interruption go on with `after=` the last `seq` seen. Raises UnknownJob.
        """
        while True:
            deltas, done = self._next_deltas(job_id, after)
            for delta in deltas:
                after = delta.seq
                yield delta
            if done:
                return

    def _next_deltas(self, job_id: str, after: str) -> tuple[list[Delta], bool]:
        """What came after `after`, waiting a second for it, and whether that was the end."""
        job = self._jobs.get(job_id, tenant=self.tenant)
        deltas = list(self._streams.read(job_id, after, block_s=0 if job.status.final else 1.0))
        # A final job's stream may be longer than one read.
        ended = any(delta.status is not None for delta in deltas) or (
            job.status.final and not deltas
        )
        if job.status.final and not deltas and after == "0":
            # The stream is gone, or was never needed: the whole answer as one entry.
            answer = self._jobs.answer(job_id)
            text = "" if answer is None else answer.text
            deltas = [Delta(seq="0-1", text=text, attempt=job.attempt, status=job.status)]
        return deltas, ended

    @cached_property
    def aio(self) -> AsyncClient:
        """The same verbs for asyncio."""
        return AsyncClient(self)

    def _polls(self, job_id: str, timeout: float | None) -> Iterator[float]:
        """Pauses between looks; raises WaitTimeout when the next one would come too late."""
        began = time.monotonic()
        deadline = None if timeout is None else began + timeout
        while True:
            waited_s = time.monotonic() - began
            yield min(max(_FASTEST_POLL_S, _LATE * waited_s), _SLOWEST_POLL_S)
            if deadline is not None and time.monotonic() >= deadline:
                job = self._jobs.get(job_id, tenant=self.tenant)
                if job.status.final:
                    continue
                where = f", {job.stage}" if job.stage else ""
                raise WaitTimeout(
                    f"job {job_id} is {job.status}{where} after {timeout:g} s; it goes on: "
                    "wait longer, poll its status, or cancel it",
                    job_id=job_id,
                )

    def _check_deadline(self, deadline_s: float, cost: float, priority: Priority) -> None:
        if not deadline_s > 0:
            raise InvalidOption(f"deadline_s is {deadline_s}, must be above 0", option="deadline_s")
        eta = self._backlog.outlook_of_cost(cost, priority=priority, tenant=self.tenant).eta
        if eta is not None and eta.p50_s > deadline_s:
            raise DeadlineTooShort(
                f"half of such jobs take {eta.p50_s:.1f} s at the present load, the deadline is "
                f"{deadline_s:g} s; allow more, or come back later",
                retry_after_s=max(1.0, eta.p50_s - deadline_s),
                p50_s=eta.p50_s,
                p90_s=eta.p90_s,
            )

    def _enqueue(self, new: Submission) -> Job:
        job_id, is_new = self._backlog.submit(new)
        if not is_new:
            return self._jobs.get(job_id, tenant=self.tenant)
        return Job(
            id=job_id,
            status=JobStatus.QUEUED,
            tenant=new.tenant,
            priority=new.priority,
            created_at=time.time(),
            deadline_at=new.deadline_at or 0.0,
            document_digest=new.document_digest,
            webhook=new.webhook,
        )

    @cached_property
    def _redis(self) -> redis.Redis:
        return connect(self._url)

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self._settings.key_prefix)

    @cached_property
    def _jobs(self) -> JobStore:
        queue = self._settings.queue
        return JobStore(
            self._redis, self._keys, url=self._url, ttl_s=queue.job_ttl_s, lease_s=queue.lease_s
        )

    @cached_property
    def _backlog(self) -> Backlog:
        return Backlog(self._redis, self._keys, url=self._url, settings=self._settings.queue)

    @cached_property
    def _blobs(self) -> BlobStore:
        ttl_s = self._settings.queue.job_ttl_s
        return BlobStore(self._redis, self._keys, url=self._url, ttl_s=ttl_s)

    @cached_property
    def _streams(self) -> StreamStore:
        return StreamStore(self._redis, self._keys, self._url, self._settings.queue.job_ttl_s)
