"""A job's questions about parts of its document, asked as jobs of their own; their answers.

Whoever holds the job calls `answers` again after every wake, with the same questions: what ended
is read, what has not is waited for. So a crash anywhere repeats nothing that was answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import structlog

from glyph_worker import codec
from glyph_worker.document import Document, digest
from glyph_worker.errors import JobFailed, QuestionTooLong, TransientError
from glyph_worker.job import Answer, Job, JobStatus, SegmentReceipt, estimated_cost
from glyph_worker.job_options import JobOptions
from glyph_worker.segments.excerpt import Excerpt, Span
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.open import Stores
from glyph_worker.store.parts import Part
from glyph_worker.worker.attempt import Cancelled, Fenced, retry_until_stored

log = structlog.get_logger(__name__)

WAVE = 256
"""Most parts of one job that wait or run at once: what a server holds for one job is bounded, and
other jobs of its tenant have a turn between two waves."""


class Parked(Exception):
    """The job waits for its parts; whoever held it has nothing more to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A question about passages of the job's text."""

    excerpt: Excerpt
    question: str
    options: JobOptions
    document: Document

    @classmethod
    def of(cls, excerpt: Excerpt, question: str, options: JobOptions) -> Self:
        document = Document(text=excerpt.text, digest=digest("document", excerpt.text.encode()))
        return cls(excerpt=excerpt, question=question, options=options, document=document)

    @property
    def span(self) -> Span:
        return self.excerpt.spans[0][0], self.excerpt.spans[-1][1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    ask: Ask
    status: JobStatus
    answer: Answer | None
    job_id: str = ""
    """'' for an answer that an earlier job had left."""
    error: JobFailed | None = None

    def receipt(self, support: float | None) -> SegmentReceipt:
        answer = self.answer
        pages = 0 if answer is None else answer.receipt.pages_encoded + answer.receipt.pages_reused
        start, end = self.ask.span
        return SegmentReceipt(
            start=start,
            end=end,
            passages=spans if len(spans := self.ask.excerpt.spans) > 1 else (),
            pages=pages,
            job_id=self.job_id,
            status=self.status.value,
            found=None if answer is None else answer.found,
            support=support,
            error="" if self.error is None else self.error.code,
        )


class Parts:
    """Of one claimed job."""

    def __init__(
        self, stores: Stores, claimed: ClaimedJob, *, salt: str, style_digest: str, identity: str
    ) -> None:
        """`identity` is the checkpoint's; '': answers of earlier jobs are not looked for."""
        self._stores = stores
        self._claimed = claimed
        self._salt = salt
        self._read_by = (style_digest, identity)
        self._num_before = 0

    def answers(self, asks: Sequence[Ask], *, num_more: int = 0) -> list[Reply]:
        """All of them, in their order. `num_more`: parts that may be asked after these.

        Raises Parked until all have ended; JobFailed where the question, or its history, fits no
        part; Fenced, Cancelled.
        """
        names = [self.name_of(ask) for ask in asks]
        ids = [f"{self._claimed.job_id}.{name[:20]}" for name in names]
        found = retry_until_stored(lambda: self._stores.parts.outcomes(ids))
        unknown = [at for at, row in enumerate(found) if row is None]
        kept = self._kept([asks[at] for at in unknown], [names[at] for at in unknown])
        replies: list[Reply | None] = [
            None if row is None else _reply(ask, *row) for ask, row in zip(asks, found, strict=True)
        ]
        for at, answer in zip(unknown, kept, strict=True):
            if answer is not None:
                replies[at] = Reply(ask=asks[at], status=JobStatus.SUCCEEDED, answer=answer)
        done = [reply for reply in replies if reply is not None]
        for reply in done:
            if reply.error is not None and reply.error.code == QuestionTooLong.code:
                # Question and history are every part's: the others would fail alike.
                raise reply.error
        if len(done) == len(asks):
            self._num_before += len(asks)
            return done
        running = sum(row is not None and not row[0].status.final for row in found)
        missing = [at for at in unknown if replies[at] is None][: max(0, WAVE - running)]
        self._park(
            [(ids[at], asks[at]) for at in missing],
            num_segments=self._num_before + len(asks) + num_more,
            num_done=self._num_before + len(done),
        )
        raise Parked

    def _park(self, asks: Sequence[tuple[str, Ask]], *, num_segments: int, num_done: int) -> None:
        parts, seen = [], set()
        for job_id, ask in asks:
            if job_id in seen:  # the same text twice in one document
                continue
            seen.add(job_id)
            retry_until_stored(lambda one=ask: self._stores.blobs.put(one.document))  # type: ignore[misc]
            most = ask.options.max_new_tokens + (ask.options.max_thinking_tokens or 0)
            parts.append(
                Part(
                    job_id=job_id,
                    document_digest=ask.document.digest,
                    question=ask.question,
                    options=ask.options,
                    cost=estimated_cost(len(ask.document.text), most),
                )
            )
        fields = {"num_segments": num_segments, "num_segments_done": num_done}
        parked = retry_until_stored(
            lambda: self._stores.parts.park(self._claimed, parts, fields=fields)
        )
        if parked is None:
            raise Fenced("a later attempt holds the job")
        if not parked:
            raise Cancelled("the producer took the job back")
        log.info("job.parked", job_id=self._claimed.job_id, num_parts=len(parts), **fields)

    def name_of(self, ask: Ask) -> str:
        """A digest of all that decides the answer."""
        return reading_name(
            ask.document.digest, ask.question, ask.options, self._salt, *self._read_by
        )

    def keep_map(self, asks: Sequence[Ask]) -> None:
        """Remember that these are the summaries of the document's parts."""
        if not self._read_by[1] or any(ask.options.temperature > 0 for ask in asks):
            return
        rows = [(*ask.span, self.name_of(ask)) for ask in asks]
        try:
            self._stores.readings.put_map(self._map_name, rows, salt=self._salt)
        except TransientError as exc:
            log.warning("cache.skipped", what="map", error=exc.code)

    def known_map(self) -> list[tuple[Span, Answer]]:
        """The document's parts with their summaries, in order; [] where any of them is not kept."""
        if not self._read_by[1]:
            return []
        try:
            rows = self._stores.readings.get_map(self._map_name, salt=self._salt)
            names = [name for _, _, name in rows]
            kept = self._stores.readings.get_many(names, salt=self._salt)
        except TransientError as exc:
            log.warning("cache.skipped", what="map", error=exc.code)
            return []
        found = [
            ((start, end), answer)
            for (start, end, _), answer in zip(rows, kept, strict=True)
            if answer is not None
        ]
        return found if len(found) == len(rows) else []

    @property
    def _map_name(self) -> str:
        return digest("map", self._claimed.document_digest, self._salt, *self._read_by)

    def _kept(self, asks: Sequence[Ask], names: Sequence[str]) -> list[Answer | None]:
        if not self._read_by[1] or any(ask.options.temperature > 0 for ask in asks):
            return [None] * len(asks)
        try:
            return self._stores.readings.get_many(names, salt=self._salt)
        except TransientError as exc:
            log.warning("cache.skipped", what="reading", error=exc.code)
            return [None] * len(asks)


def reading_name(
    document_digest: str,
    question: str,
    options: JobOptions,
    salt: str,
    style_digest: str,
    identity: str,
) -> str:
    """Names what a segment answers, for whoever keeps or looks for it."""
    asked = codec.pack("asked", options.to_fields())
    return digest("reading", document_digest, question, asked, salt, style_digest, identity)


def part_options(options: JobOptions, *, free: bool) -> JobOptions:
    """A part's, of its job's; `free`: whatever form the whole answer is to have."""
    own = replace(options, overflow="segments", task="answer")
    return replace(own, response_format=None, choices=(), regex="") if free else own


def _reply(ask: Ask, job: Job, answer: Answer | None) -> Reply | None:
    """None while it has not ended."""
    if not job.status.final:
        return None
    error = None
    if answer is None:
        stored = job.error or {"code": job.status.value, "message": f"a part was {job.status}"}
        error = JobFailed.stored(stored, job.id)
    return Reply(ask=ask, status=job.status, answer=answer, job_id=job.id, error=error)
