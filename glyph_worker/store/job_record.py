"""A job's record as it stands in Redis, read as what workers and clients know it by. No I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from glyph_worker import codec
from glyph_worker.job import Answer, Job, JobStatus, Priority, Progress, Stage
from glyph_worker.job_options import JobOptions

Record = dict[bytes, bytes]
"""A hash as it comes from Redis; our connections never decode responses."""

_PROGRESS = ("num_pages", "num_pages_ready", "num_prompt_tokens", "num_prefilled_tokens",
             "num_thinking_tokens", "num_answer_tokens")  # fmt: skip
_SEGMENTS = ("num_segments", "num_segments_done")
"""Progress that the scripts alone write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedJob:
    """What a worker needs of a record to do the job."""

    job_id: str
    attempt: int
    owner: str
    tenant: str
    document_digest: str
    question: str
    packed_options: bytes
    created_at: float
    priority: Priority
    deadline_at: float | None
    """Seconds since the epoch by the server's clock, as created_at."""
    ahead_s: float
    """The server's clock minus our monotonic one."""
    strikes: int
    """Workers that have died at work on it; from the first on it runs alone."""
    notes: dict[str, float]
    """Numbers earlier stages left for the receipt: queue_ms, render_ms, pages_rendered, …"""
    document_notes: tuple[str, ...] = ()
    """What of the document's file was not read."""
    document_names: tuple[str, ...] = ()
    """Of each of several documents in one; () for one document."""
    traceparent: str = ""
    parent: str = ""
    """The job that this one is a part of; '' for one that a producer submitted."""
    num_reused: int = 0
    """Of a job in segments: answers that an earlier job had left."""

    def now(self) -> float:
        """Seconds since the epoch by the server's clock; this machine's own may be off."""
        return self.ahead_s + time.monotonic()

    @property
    def options(self) -> JobOptions:
        """Raises InvalidOption or UnreadableEnvelope; only read while the job is held."""
        return JobOptions.of(codec.unpack("options", self.packed_options))


def progress_fields(progress: Progress | None) -> dict[str, Any]:
    """For a record."""
    return {} if progress is None else {name: getattr(progress, name) for name in _PROGRESS}


def claimed_job(
    job_id: str, record: Record, *, attempt: int, owner: str, strikes: int, ahead_s: float
) -> ClaimedJob:
    deadline = record.get(b"deadline_at")
    return ClaimedJob(
        job_id=job_id,
        attempt=attempt,
        owner=owner,
        tenant=record[b"tenant"].decode(),
        document_digest=record[b"document_digest"].decode(),
        question=record[b"question"].decode(),
        packed_options=record[b"options"],
        created_at=float(record[b"created_at"]),
        priority=Priority(int(record[b"priority"])),
        deadline_at=None if deadline is None else float(deadline),
        ahead_s=ahead_s,
        strikes=strikes,
        notes={
            name.decode().removeprefix("note:"): float(value)
            for name, value in record.items()
            if name.startswith(b"note:")
        }
        | {"queue_ms": float(record.get(b"queue_ms", 0))},
        document_notes=document_notes(record),
        document_names=document_names(record),
        parent=record.get(b"parent", b"").decode(),
        num_reused=int(record.get(b"num_reused", 0)),
        traceparent=record.get(b"traceparent", b"").decode(),
    )


def job_of(job_id: str, record: Record) -> Job:
    def number(name: str) -> float:
        return float(record.get(name.encode()) or 0)

    stage = record.get(b"stage", b"").decode()
    error = record.get(b"error")
    return Job(
        id=job_id,
        status=JobStatus(record[b"status"].decode()),
        stage=Stage.known(stage),
        progress=Progress(**{name: int(number(name)) for name in (*_PROGRESS, *_SEGMENTS)}),
        attempt=int(number("attempt")),
        tenant=record.get(b"tenant", b"default").decode(),
        priority=Priority(int(number("priority"))),
        created_at=number("created_at") or None,
        started_at=number("started_at") or None,
        finished_at=number("finished_at") or None,
        deadline_at=number("deadline_at") or None,
        document_digest=record[b"document_digest"].decode(),
        error=None if error is None else codec.unpack("error", error),
        cancel_requested=record.get(b"cancel_requested") == b"1",
        text=record.get(b"text", b"").decode(),
        webhook=record.get(b"webhook", b"").decode(),
        document_notes=document_notes(record),
        document_names=document_names(record),
    )


def outcome_of(job_id: str, record: Record) -> tuple[Job, Answer | None, bytes]:
    raw = record.get(b"answer")
    answer = None if raw is None else Answer.from_fields(codec.unpack("answer", raw))
    return job_of(job_id, record), answer, record.get(b"surface", b"")


def document_notes(record: Record) -> tuple[str, ...]:
    """What of the document's file was not read, as its submit said."""
    packed = record.get(b"document_notes")
    return () if packed is None else tuple(codec.unpack("document_notes", packed)["notes"])


def document_names(record: Record) -> tuple[str, ...]:
    """Names of the documents of a job on several, in their order."""
    packed = record.get(b"document_names")
    return () if packed is None else tuple(codec.unpack("document_names", packed)["names"])
