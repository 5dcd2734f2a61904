"""Producers' side: submit · status · result · wait · cancel, and the same for asyncio. Light."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from glyph_worker.document import Document
from glyph_worker.errors import (
    EmptyQuestion,
    GlyphError,
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobFinished,
    QuestionTooLong,
    StoreUnavailable,
    UnknownJob,
    WaitTimeout,
)
from glyph_worker.job import Answer, Job, JobOptions, JobStatus

if TYPE_CHECKING:
    from celery import Celery

    from glyph_worker.settings import Settings
    from glyph_worker.store.blobs import BlobStore
    from glyph_worker.store.jobs import JobStore

_T = TypeVar("_T")

# `wait` polls: the first look comes soon, later ones cost next to nothing.
_FIRST_POLL_S, _SLOWEST_POLL_S = 0.02, 0.25


class Client:
    """One per process; thread-safe. Nothing is sent before the first call.

    Every method raises StoreUnavailable, StoreFull or StoreDenied when Redis cannot serve it.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.broker_url is None:
            raise StoreUnavailable(
                "no broker: set GLYPH_BROKER_URL=redis://host:port/db "
                "(or try `glyph-worker up`, which starts one and prints its URL)"
            )
        self._settings = settings
        self._url = settings.broker_url.get_secret_value()

    @classmethod
    def from_env(cls, **overrides: Any) -> Client:
        """From GLYPH_BROKER_URL, GLYPH_CACHE_URL, … Raises InvalidSetting."""
        from glyph_worker.settings import Settings

        return cls(Settings.load(**overrides))

    def submit(self, document: str | bytes, question: str, **options: Any) -> Job:
        """Queue one question about one document and return at once.

        `options` are JobOptions' fields: max_new_tokens, temperature, top_p, top_k, seed, stop,
        style. Raises EmptyDocument, EmptyQuestion, InvalidEncoding, DocumentTooLarge,
        QuestionTooLong, InvalidOption.
        """
        return self.submit_many(document, [question], **options)[0]

    def submit_many(
        self, document: str | bytes, questions: Sequence[str], **options: Any
    ) -> list[Job]:
        """One job per question; the document travels once. All are checked before any is queued."""
        if isinstance(questions, str):
            raise InvalidOption("questions is one string; pass a list, or use submit")
        limits = self._settings.limits
        chosen = JobOptions.of(options)
        if chosen.max_new_tokens > limits.max_new_tokens:
            raise InvalidOption(
                f"max_new_tokens is {chosen.max_new_tokens}, limit is {limits.max_new_tokens}",
                option="max_new_tokens",
            )
        for question in questions:
            _check_question(question, limits.max_question_chars)
        checked = Document.of(document, max_bytes=limits.max_document_bytes)
        self._blobs.put(checked)
        return [self._enqueue(checked.digest, question, chosen) for question in questions]

    def status(self, job_id: str) -> Job:
        """What is true of the job now. Raises UnknownJob."""
        return self._jobs.get(job_id)

    def status_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """In one round trip; None for an unknown id."""
        return self._jobs.get_many(job_ids)

    def result(self, job_id: str) -> Answer | None:
        """The answer, or None while the job is not final.

        Raises UnknownJob, JobFailed (with the stored code and message), JobCancelled.
        """
        job = self._jobs.get(job_id)
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
        for pause_s in self._polls(job_id, timeout):
            answer = self.result(job_id)
            if answer is not None:
                return answer
            time.sleep(pause_s)
        raise AssertionError("unreachable: _polls ends by raising")

    def cancel(self, job_id: str) -> Job:
        """Take a job back: at once while it is queued, within a step while it runs. Durable.

        Raises UnknownJob, and JobFinished for a job that is final already.
        """
        outcome = self._jobs.cancel(job_id)
        if outcome == "unknown":
            self._jobs.get(job_id)  # raises UnknownJob
        job = self._jobs.get(job_id)
        if outcome == "final":
            raise JobFinished(f"job {job_id} is {job.status} already", status=job.status.value)
        return job

    @cached_property
    def aio(self) -> AsyncClient:
        """The same verbs for asyncio."""
        return AsyncClient(self)

    def _polls(self, job_id: str, timeout: float | None) -> Iterator[float]:
        """Pauses between looks; raises WaitTimeout when the next one would come too late."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause_s = _FIRST_POLL_S
        while True:
            yield pause_s
            if deadline is not None and time.monotonic() >= deadline:
                job = self._jobs.get(job_id)
                if job.status.final:
                    continue
                where = f", {job.stage}" if job.stage else ""
                raise WaitTimeout(
                    f"job {job_id} is {job.status}{where} after {timeout:g} s; it goes on: "
                    "wait longer, poll its status, or cancel it",
                    job_id=job_id,
                )
            pause_s = min(pause_s * 1.5, _SLOWEST_POLL_S)

    def _enqueue(self, document_digest: str, question: str, options: JobOptions) -> Job:
        from glyph_worker.queue.app import publish

        job_id = str(uuid.uuid4())
        # The record first: a missing record means "unknown", never "not yet written".
        self._jobs.create(
            job_id, document_digest=document_digest, question=question, options=options
        )
        try:
            publish(self._app, job_id)
        except Exception as exc:
            refused = StoreUnavailable(f"the broker did not take the job: {exc}", job_id=job_id)
            with contextlib.suppress(GlyphError):
                self._jobs.fail(job_id, refused.to_wire())
            raise refused from exc
        return self._jobs.get(job_id)

    @cached_property
    def _app(self) -> Celery:
        from glyph_worker.queue.app import make_app

        return make_app(self._settings)

    @cached_property
    def _jobs(self) -> JobStore:
        from glyph_worker.store.connection import connect
        from glyph_worker.store.jobs import JobStore
        from glyph_worker.store.keys import Keys

        queue = self._settings.queue
        return JobStore(
            connect(self._url),
            Keys(self._settings.key_prefix),
            url=self._url,
            ttl_s=queue.job_ttl_s,
            lease_s=queue.lease_s,
        )

    @cached_property
    def _blobs(self) -> BlobStore:
        from glyph_worker.store.blobs import BlobStore
        from glyph_worker.store.connection import connect
        from glyph_worker.store.keys import Keys

        ttl_s = self._settings.queue.job_ttl_s
        return BlobStore(
            connect(self._url), Keys(self._settings.key_prefix), url=self._url, ttl_s=ttl_s
        )


class AsyncClient:
    """A thin asyncio shell: each verb runs the one synchronous core in a thread."""

    def __init__(self, core: Client) -> None:
        self._core = core

    async def submit(self, document: str | bytes, question: str, **options: Any) -> Job:
        return await _threaded(self._core.submit, document, question, **options)

    async def submit_many(
        self, document: str | bytes, questions: Sequence[str], **options: Any
    ) -> list[Job]:
        return await _threaded(self._core.submit_many, document, questions, **options)

    async def status(self, job_id: str) -> Job:
        return await _threaded(self._core.status, job_id)

    async def status_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        return await _threaded(self._core.status_many, job_ids)

    async def result(self, job_id: str) -> Answer | None:
        return await _threaded(self._core.result, job_id)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> Answer:  # noqa: ASYNC109
        """As Client.wait; between two looks no thread and no connection is held."""
        polls = self._core._polls(job_id, timeout)
        while True:
            pause_s = await _threaded(next, polls)
            answer = await self.result(job_id)
            if answer is not None:
                return answer
            await asyncio.sleep(pause_s)

    async def cancel(self, job_id: str) -> Job:
        return await _threaded(self._core.cancel, job_id)


async def _threaded(call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    return await asyncio.to_thread(call, *args, **kwargs)


def _check_question(question: str, max_chars: int) -> None:
    if not isinstance(question, str) or not any(
        c.isprintable() and not c.isspace() for c in question
    ):
        raise EmptyQuestion("the question has no readable character; ask something")
    if len(question) > max_chars:
        raise QuestionTooLong(
            f"question has {len(question)} characters, limit is {max_chars}; "
            "shorten it, or move its material into the document",
            num_chars=len(question),
            max_chars=max_chars,
        )
