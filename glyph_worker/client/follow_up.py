"""A question that follows an answered one: its document, and what was said before. Reads only."""

from __future__ import annotations

from dataclasses import replace

from glyph_worker import codec
from glyph_worker.document import Document, Source, Sources
from glyph_worker.errors import InvalidOption
from glyph_worker.job import JobStatus
from glyph_worker.job_options import JobOptions
from glyph_worker.options import MAX_HISTORY_CHARS, MAX_TURNS, SubmitOptions, check
from glyph_worker.store.blobs import BlobStore
from glyph_worker.store.job_record import document_names, document_notes, outcome_of
from glyph_worker.store.jobs import JobStore


def followed(
    document: Source | Sources | None,
    options: SubmitOptions,
    jobs: JobStore,
    blobs: BlobStore,
    *,
    tenant: str,
    max_bytes: int,
) -> tuple[Document, SubmitOptions]:
    """The followed job's document, and the options with the history in place of `follows`.

    A document that is sent along must be the same one. Raises UnknownJob, JobExpired where the
    document is no longer kept, InvalidOption for a job without an answer and for a conversation
    over the limits, and what `options.check` and Document.of raise.
    """
    options = check(options)
    job_id = options["follows"]
    assert job_id is not None, "the caller has seen it"
    record = jobs.record(job_id, tenant=tenant)
    job, answer, _ = outcome_of(job_id, record)
    if answer is None:
        way = (
            "follow the one before it"
            if job.status in (JobStatus.FAILED, JobStatus.CANCELLED)
            else "wait for its answer first"
        )
        raise InvalidOption(
            f"job {job_id} is {job.status} and has no answer to follow; {way}", option="follows"
        )
    if document is not None:
        given = Document.of(document, max_bytes=max_bytes)
        if given.digest != job.document_digest:
            raise InvalidOption(
                f"job {job_id} was asked about another document; leave the document out to follow "
                "it, or ask without follows",
                option="follows",
            )
    kept = replace(
        blobs.get(job.document_digest),
        notes=document_notes(record),
        names=document_names(record),
    )
    earlier = JobOptions.of(codec.unpack("options", record[b"options"])).history
    history = (*earlier, (record[b"question"].decode(), answer.text))
    if len(history) > MAX_TURNS or sum(map(len, sum(history, ()))) > MAX_HISTORY_CHARS:
        raise InvalidOption(
            f"the conversation up to job {job_id} has {len(history)} turns, limit is {MAX_TURNS} "
            f"with {MAX_HISTORY_CHARS} characters; ask with history=[…], the last of them",
            option="follows",
        )
    rest: SubmitOptions = {**options, "history": history}
    del rest["follows"]
    return kept, rest
