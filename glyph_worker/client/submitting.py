"""What is asked becomes jobs: checked, and queued whole or not at all. Of one tenant. Light."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from glyph_worker import codec
from glyph_worker.client.checks import checked
from glyph_worker.client.follow_up import followed
from glyph_worker.document import Source, Sources, digest
from glyph_worker.errors import DeadlineTooShort, InvalidOption, StoreDenied, WebhookRefused
from glyph_worker.job import Job, JobStatus, Priority, estimated_cost
from glyph_worker.job_options import NOT_BY_ALL, JobOptions, refuse_lacking, used
from glyph_worker.options import SubmitOptions
from glyph_worker.settings import Settings
from glyph_worker.store.backlog import NOTHING, Backlog, Noted, Submission
from glyph_worker.store.blobs import BlobStore
from glyph_worker.store.connection import Server
from glyph_worker.store.job_record import document_names, document_notes
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.webhooks import ANNOUNCED_S, WebhookStore
from glyph_worker.store.workers import WorkerStore
from glyph_worker.traces import current_traceparent


class Submitter:
    """The half of a client that makes jobs. `Client.submit` and `retry` say what is raised."""

    def __init__(
        self,
        *,
        settings: Settings,
        tenant: str,
        redis: Server,
        keys: Keys,
        jobs: JobStore,
        blobs: BlobStore,
        backlog: Backlog,
    ) -> None:
        self._settings = settings
        self._tenant = tenant
        self._redis = redis
        self._keys = keys
        self._jobs = jobs
        self._blobs = blobs
        self._backlog = backlog

    def submit(
        self,
        document: Source | Sources | None,
        questions: Iterable[str],
        options: SubmitOptions,
        *,
        noted: Noted = NOTHING,
        job_id: str = "",
    ) -> list[Job]:
        """One job per question. `job_id`: the id that the one is to have."""
        if options.get("follows") is not None:
            document, options = followed(
                document, options, self._jobs, self._blobs,
                tenant=self._tenant, max_bytes=self._settings.limits.max_document_bytes,
            )  # fmt: skip
        asked = checked(document, questions, options, self._settings.limits)
        if not asked.questions:
            return []
        if asked.webhook:
            self._check_called()
        source, chosen = asked.document, asked.options
        self._check_followed(chosen)
        most_tokens = chosen.max_new_tokens + (chosen.max_thinking_tokens or 0)
        cost = estimated_cost(len(source.text), most_tokens)
        if asked.deadline_s is not None:
            self._check_deadline(asked.deadline_s, cost * len(asked.questions), asked.priority)
        self._blobs.put(source)
        surface = (noted.surface,) if noted.surface else ()
        jobs = []
        for number, question in enumerate(asked.questions):
            payload = codec.pack("payload", {"question": question, **chosen.to_fields()})
            key = f"{number}:{asked.idempotency_key}" if asked.idempotency_key else ""
            jobs.append(
                Submission(
                    job_id=job_id or str(uuid.uuid4()),
                    tenant=self._tenant,
                    priority=asked.priority,
                    document_digest=source.digest,
                    document_notes=source.notes,
                    document_names=source.names,
                    question=question,
                    options=chosen,
                    cost=cost,
                    ttl_s=asked.ttl_s or self._settings.queue.job_ttl_s,
                    deadline_s=asked.deadline_s,
                    webhook=asked.webhook,
                    idempotency_key=digest("idempotency", key) if key else "",
                    payload_digest=digest(
                        "payload", source.digest, payload, *surface, *source.names
                    ),
                    traceparent=current_traceparent(),
                    noted=noted,
                )
            )
        return self._enqueue(jobs)

    def again(self, job_id: str) -> Job:
        """A job that failed or was cancelled, as a new one."""
        record = self._jobs.record(job_id, tenant=self._tenant)
        status = JobStatus(record[b"status"].decode())
        if status not in (JobStatus.FAILED, JobStatus.CANCELLED):
            raise InvalidOption(f"job {job_id} is {status}; only failed or cancelled jobs go again")
        webhook = record.get(b"webhook", b"").decode()
        if webhook:
            self._check_called()
        document = self._blobs.get(record[b"document_digest"].decode())
        chosen = JobOptions.of(codec.unpack("options", record[b"options"]))
        self._blobs.put(document)  # it might go before the new job keeps it
        again = Submission(
            job_id=str(uuid.uuid4()),
            tenant=self._tenant,
            priority=Priority(int(record[b"priority"])),
            document_digest=document.digest,
            question=record[b"question"].decode(),
            options=chosen,
            cost=float(record[b"cost"]),
            ttl_s=int(record[b"ttl_s"]),
            webhook=webhook,
            document_notes=document_notes(record),
            document_names=document_names(record),
            retry_of=job_id,
            traceparent=current_traceparent(),
        )
        return self._enqueue([again])[0]

    def _check_called(self) -> None:
        if not WebhookStore(self._redis, self._keys, ttl_s=0).are_called():
            raise WebhookRefused(
                "nobody would call the webhook: no gateway with GLYPH_GATEWAY_WEBHOOK_SECRET has "
                f"run here in the last {ANNOUNCED_S // 60} minutes; start one, or submit without it"
            )

    def _check_followed(self, options: JobOptions) -> None:
        """Raises InvalidOption where no living answer worker can do what is asked, and one lives.

        Nothing is read for a job that every backend can do.
        """
        asked = used(options) & NOT_BY_ALL
        if not asked:
            return
        try:
            abilities = WorkerStore(self._redis, self._keys).abilities()
        except StoreDenied:  # an access list of before: the worker refuses it then
            return
        if abilities and all(asked & set(one.lacks) for one in abilities):
            refuse_lacking(options, abilities[0].engine, abilities[0].lacks)

    def _check_deadline(self, deadline_s: float, cost: float, priority: Priority) -> None:
        eta = self._backlog.outlook_of_cost(cost, priority=priority, tenant=self._tenant).eta
        if eta is not None and eta.p50_s > deadline_s:
            raise DeadlineTooShort(
                f"half of such jobs take {eta.p50_s:.1f} s at the present load, the deadline is "
                f"{deadline_s:g} s; allow more, or come back later",
                retry_after_s=max(1.0, eta.p50_s - deadline_s),
                p50_s=eta.p50_s,
                p90_s=eta.p90_s,
            )

    def _enqueue(self, jobs: Sequence[Submission]) -> list[Job]:
        queued = self._backlog.submit_many(jobs)
        known = [one.job_id for one in queued if not one.is_new]
        earlier = dict(zip(known, self._jobs.get_many(known, tenant=self._tenant), strict=True))
        # A record that ended and expired since is read once more, and then says so.
        return [
            _fresh(new, one.at)
            if one.is_new
            else earlier[one.job_id] or self._jobs.get(one.job_id, tenant=self._tenant)
            for new, one in zip(jobs, queued, strict=True)
        ]


def _fresh(new: Submission, at: float) -> Job:
    """What is true of a job that was queued at this moment."""
    return Job(
        id=new.job_id,
        status=JobStatus.QUEUED,
        tenant=new.tenant,
        priority=new.priority,
        created_at=at,
        deadline_at=None if new.deadline_s is None else at + new.deadline_s,
        document_digest=new.document_digest,
        document_notes=new.document_notes,
        document_names=new.document_names,
        webhook=new.webhook,
    )
