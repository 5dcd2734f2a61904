"""Producers' side: submit · status · result · wait · cancel. Light."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Unpack

from glyph_worker.client.aio import AsyncClient
from glyph_worker.client.checks import check_tenant
from glyph_worker.client.submitting import Submitter
from glyph_worker.document import Source, Sources
from glyph_worker.errors import (
    JobCancelled,
    JobFailed,
    JobFinished,
    StoreUnavailable,
    UnknownJob,
    WaitTimeout,
)
from glyph_worker.job import Answer, Delta, Job, JobStatus, Priority
from glyph_worker.options import SubmitOptions
from glyph_worker.settings import Settings
from glyph_worker.store.backlog import Backlog, Noted
from glyph_worker.store.blobs import BlobStore
from glyph_worker.store.connection import Server, connect
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.listing import JobListing, JobPage
from glyph_worker.store.streams import Cursor, StreamStore

# Where nothing wakes a waiter it looks again: a tenth late at most, and a long wait costs next to
# nothing.
_LATE, _FASTEST_POLL_S, _SLOWEST_POLL_S = 0.1, 0.01, 0.25


class Client:
    """One per process; thread-safe. Nothing is sent before the first call. As a context it closes.

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

    def close(self) -> None:
        """Let go of the connections, those of `for_tenant` clients too. A later call opens new
        ones."""
        if "_redis" in self.__dict__:
            self._redis.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        return self._settings

    def submit(
        self,
        document: Source | Sources | None,
        question: str,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """Queue one question about one document, or about several, and return at once.

        Several documents, up to 100, are a list, of texts or (name, text) pairs, or a dict by name;
        each one's pages are drawn, encoded and kept alone, and citations name the document.

        `options` are SubmitOptions: how to answer (max_new_tokens, temperature, top_p, top_k, seed,
        stop), how to think (thinking, max_thinking_tokens, include_thinking), what form the answer
        has (response_format, choices or regex), how to draw (style, min_quality), what becomes of
        an answer's numbers and names (literals), what becomes of a document beyond the window
        (overflow, task), whether pages' exact text is laid beside the question (lens,
        experimental), what was said before (history), and these:
        `follows`: id of an answered job. The question is about its document, which is None here,
        and its question and answer, with what it had itself followed, are the history.
        `idempotency_key`: the same key and payload give the same job, however often they are sent,
        as long as its record is kept.
        `priority`: `interactive` or `bulk`. `deadline_s`: seconds from now after which the answer
        is worth nothing. `ttl_s`: how long the record outlives the job's end. `webhook`: a URL the
        gateway calls at the end.

        Raises EmptyDocument, EmptyQuestion, InvalidEncoding, DocumentTooLarge, QuestionTooLong,
        InvalidOption, InvalidSchema, WebhookRefused, Conflict, QueueFull, QuotaExceeded,
        DeadlineTooShort; UnknownJob and JobExpired for a job that cannot be followed.
        """
        return self.submit_many(document, (question,), **options)[0]

    def submit_many(
        self,
        document: Source | Sources | None,
        questions: Iterable[str],
        **options: Unpack[SubmitOptions],
    ) -> list[Job]:
        """One job per question, at most 2,000; the document travels once.

        All are checked before any is queued, and all are queued or none.
        """
        return self._submitter.submit(document, questions, options)

    def submit_noted(
        self,
        document: Source | Sources | None,
        question: str,
        *,
        noted: Noted,
        job_id: str = "",
        **options: Unpack[SubmitOptions],
    ) -> Job:
        """As `submit`, for surfaces that keep something of their own in the record.

        `job_id`: the id that the job is to have; a job that has it already is returned.
        """
        found = self._submitter.submit(document, (question,), options, noted=noted, job_id=job_id)
        return found[0]

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job's question again, as a new job.

        Raises UnknownJob, JobExpired (its document is no longer kept), InvalidOption for a job
        that succeeded or is not final, WebhookRefused where nobody would call its webhook.
        """
        return self._submitter.again(job_id)

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

    def list_jobs(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        statuses: Sequence[JobStatus] = (),
        priority: str | None = None,
    ) -> JobPage:
        """This tenant's jobs, newest first: unfinished ones, and the newest 20,000 that have ended.

        `cursor` is `next_cursor` of the page before. Raises InvalidOption.
        """
        listing = JobListing(self._redis, self._keys, self._jobs)
        wanted = None if priority is None else Priority.of(priority)
        return listing.page(
            self.tenant, limit=limit, cursor=cursor, statuses=statuses, priority=wanted
        )

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
            raise JobFailed.stored(job.error or {}, job_id)
        if job.status is JobStatus.CANCELLED:
            raise JobCancelled(f"job {job_id} was cancelled", job_id=job_id)
        return None

    def outcome(self, job_id: str) -> tuple[Job, Answer | None, bytes]:
        """The job, its answer if there is one, and what its surface noted, in one round trip.

        Raises UnknownJob.
        """
        return self._jobs.outcome(job_id, tenant=self.tenant)

    def outcomes(self, job_ids: Sequence[str]) -> list[tuple[Job, Answer | None, bytes] | None]:
        """The same of many; None for an unknown id."""
        return self._jobs.outcomes(job_ids, tenant=self.tenant)

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

        A delta that is `anew` begins the text again; all the others are to be appended. After an
        interruption go on with `after=` the last `seq` seen. Raises UnknownJob, InvalidOption.
        """
        cursor = Cursor.at(after)
        while not cursor.ended:
            yield from self.next_deltas(job_id, cursor)

    def next_deltas(self, job_id: str, cursor: Cursor) -> list[Delta]:
        """For shells over this client: what a reader has not got yet, waiting a second for it.

        Moves the cursor; `cursor.ended` when there will be no more. Raises UnknownJob.
        """
        job = self._jobs.get(job_id, tenant=self.tenant)
        final = job.status.final
        deltas = self._streams.follow(job_id, cursor, block_s=0 if final else 1.0)
        if final and not deltas and not cursor.ended:
            # Nothing comes any more, and no end came. What was read last may be lost, and the rest
            # then stands elsewhere; or the stream is gone, or was never needed.
            cursor.doubt()
            deltas = self._streams.follow(job_id, cursor, block_s=0)
            if not deltas and not cursor.ended:
                cursor.ended = True
                return [self._whole(job)]
        if cursor.ended and cursor.torn:
            return [*deltas[:-1], self.missed(job_id), deltas[-1]]
        return deltas

    def missed(self, job_id: str) -> Delta:
        """The whole answer, for a reader whose stream had lost the beginning by its end."""
        return dataclasses.replace(self._whole(self._jobs.get(job_id)), status=None)

    def _whole(self, job: Job) -> Delta:
        answer = self._jobs.answer(job.id)
        text = "" if answer is None else answer.text
        return Delta(seq="0-1", text=text, attempt=job.attempt, anew=bool(text), status=job.status)

    def for_tenant(self, tenant: str) -> Client:
        """A client for another owner's jobs, over the same connections."""
        other = Client(self._settings, tenant=tenant)
        other._redis = self._redis
        return other

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
                self._check_late(job_id, timeout)

    def _check_late(self, job_id: str, timeout: float | None) -> None:
        """Raises WaitTimeout, but not for a job that ended in the last moment."""
        job = self._jobs.get(job_id, tenant=self.tenant)
        if not job.status.final:
            where = f", {job.stage}" if job.stage else ""
            raise WaitTimeout(
                f"job {job_id} is {job.status}{where} after {timeout:g} s; it goes on: "
                "wait longer, poll its status, or cancel it",
                job_id=job_id,
            )

    @cached_property
    def _submitter(self) -> Submitter:
        return Submitter(
            settings=self._settings, tenant=self.tenant, redis=self._redis, keys=self._keys,
            jobs=self._jobs, blobs=self._blobs, backlog=self._backlog,
        )  # fmt: skip

    @cached_property
    def _redis(self) -> Server:
        return connect(self._url)

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self._settings.key_prefix)

    @cached_property
    def _jobs(self) -> JobStore:
        queue = self._settings.queue
        return JobStore(self._redis, self._keys, ttl_s=queue.job_ttl_s, lease_s=queue.lease_s)

    @cached_property
    def _backlog(self) -> Backlog:
        return Backlog(self._redis, self._keys, settings=self._settings.queue)

    @cached_property
    def _blobs(self) -> BlobStore:
        ttl_s = self._settings.queue.job_ttl_s
        return BlobStore(self._redis, self._keys, ttl_s=ttl_s)

    @cached_property
    def _streams(self) -> StreamStore:
        return StreamStore(self._redis, self._keys, self._settings.queue.job_ttl_s)
