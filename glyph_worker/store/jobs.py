"""The truth about every job: one hash per job, changed only by the scripts in lua/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Any, cast

import redis

from glyph_worker import codec
from glyph_worker.errors import UnknownJob
from glyph_worker.job import Answer, Job, JobOptions, JobStatus, Progress, Stage
from glyph_worker.store.connection import translated
from glyph_worker.store.keys import Keys

_SCRIPTS = ("submit", "claim", "update", "release", "commit", "cancel", "active")
_PROGRESS = ("num_pages", "num_pages_ready", "num_prompt_tokens", "num_prefilled_tokens",
             "num_answer_tokens")  # fmt: skip


Record = dict[bytes, bytes]
"""A hash as it comes from Redis; our connections never decode responses."""


class Verdict(StrEnum):
    """What a claim found."""

    CLAIMED = "claimed"
    UNKNOWN = "unknown"
    """No record: expired, or never submitted."""
    FINAL = "final"
    CANCELLED = "cancelled"
    HELD = "held"
    """A living worker holds it; this message is a duplicate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a worker needs of a record to do the job."""

    job_id: str
    attempt: int
    owner: str
    document_digest: str
    question: str
    packed_options: bytes
    created_at: float
    notes: dict[str, float]
    """Numbers earlier stages left for the receipt: queue_ms, render_ms, pages_rendered, …"""

    @property
    def options(self) -> JobOptions:
        """Raises InvalidOption or UnreadableEnvelope; only read while the job is held."""
        return JobOptions.of(codec.unpack("options", self.packed_options))


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """One job that is not final, as the reconciler sees it."""

    job_id: str
    rendered: bool
    """Its message belongs on the answer queue, not on the render queue."""
    waiting_s: float
    """Since it was queued, or since its holder's lease ran out; negative while a lease runs."""


class JobStore:
    """Records on the broker's server. Thread-safe; every method is one round trip.

    Raises StoreUnavailable, StoreFull or StoreDenied from every method.
    """

    def __init__(
        self, client: redis.Redis, keys: Keys, *, url: str, ttl_s: int, lease_s: float
    ) -> None:
        self._client = client
        self._keys = keys
        self._url = url
        self._ttl_s = ttl_s
        # One second shorter than the broker's, so that a message that comes back because its
        # worker died never finds the dead worker's lease on the record still running.
        self._lease_s = max(1.0, lease_s - 1)
        folder = resources.files("glyph_worker.store").joinpath("lua")
        self._scripts = {
            name: client.register_script(folder.joinpath(f"{name}.lua").read_text())
            for name in _SCRIPTS
        }

    def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        with translated(self._url):
            return self._scripts[script](keys=list(keys), args=list(args))

    # Producers ---------------------------------------------------------------------------------

    def create(
        self, job_id: str, *, document_digest: str, question: str, options: JobOptions
    ) -> bool:
        """Write a QUEUED record. False when this id has one already."""
        fields = {
            "document_digest": document_digest,
            "question": question,
            "options": codec.pack("options", options.to_fields()),
        }
        args = [job_id, self._ttl_s, *_flat(fields)]
        return bool(self._run("submit", [self._keys.job(job_id), self._keys.active], args))

    def get(self, job_id: str) -> Job:
        """Raises UnknownJob."""
        with translated(self._url):
            record = cast(Record, self._client.hgetall(self._keys.job(job_id)))
        if not record:
            raise UnknownJob(
                f"no job {job_id!r} here: never submitted, or over its time to live "
                f"of {self._ttl_s} s",
                job_id=job_id,
            )
        return _job(job_id, record)

    def get_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        """In one round trip; None where there is no record."""
        with translated(self._url):
            pipe = self._client.pipeline(transaction=False)
            for job_id in job_ids:
                pipe.hgetall(self._keys.job(job_id))
            records = pipe.execute()
        return [_job(i, r) if r else None for i, r in zip(job_ids, records, strict=True)]

    def answer(self, job_id: str) -> Answer | None:
        with translated(self._url):
            raw = cast("bytes | None", self._client.hget(self._keys.job(job_id), "answer"))
        return None if raw is None else Answer.from_fields(codec.unpack("answer", raw))

    def cancel(self, job_id: str) -> str:
        """Returns `cancelled`, `requested`, `final` or `unknown`."""
        keys = [self._keys.job(job_id), self._keys.active]
        args = [job_id, self._ttl_s, self._keys.cancels]
        return str(self._run("cancel", keys, args).decode())

    # Workers -----------------------------------------------------------------------------------

    def claim(self, job_id: str, *, owner: str, stage: Stage) -> tuple[Verdict, Order | None]:
        """Take the right to work on a job. The order is there when the verdict is CLAIMED."""
        key = self._keys.job(job_id)
        args = [job_id, owner, self._lease_s, stage.value, self._ttl_s]
        verdict, attempt = self._run("claim", [key, self._keys.active], args)
        if verdict != b"claimed":
            return Verdict(verdict.decode()), None
        with translated(self._url):
            record = cast(Record, self._client.hgetall(key))
        return Verdict.CLAIMED, Order(
            job_id=job_id,
            attempt=int(attempt),
            owner=owner,
            document_digest=record[b"document_digest"].decode(),
            question=record[b"question"].decode(),
            packed_options=record[b"options"],
            created_at=float(record[b"created_at"]),
            notes={
                name.decode().removeprefix("note:"): float(value)
                for name, value in record.items()
                if name.startswith(b"note:")
            }
            | {"queue_ms": float(record.get(b"queue_ms", 0))},
        )

    def update(
        self, order: Order, *, stage: Stage | None = None, progress: Progress | None = None
    ) -> bool | None:
        """Write progress, renew the lease. True: go on; False: a cancel is asked; None: fenced."""
        fields: dict[str, Any] = {} if stage is None else {"stage": stage.value}
        fields |= _row(progress)
        args = [order.attempt, order.owner, self._lease_s, self._ttl_s, *_flat(fields)]
        found = int(self._run("update", [self._keys.job(order.job_id)], args))
        return {1: True, 2: False}.get(found)

    def hand_over(self, order: Order, *, num_pages: int, notes: dict[str, float]) -> bool:
        """Queue the job for its next stage. False when fenced off."""
        fields = {"stage": Stage.ENCODING.value, "num_pages": num_pages} | {
            f"note:{name}": value for name, value in notes.items()
        }
        return self._release(order, handed_over=True, fields=fields)

    def hand_back(self, order: Order) -> bool:
        """Queue the job again, unfinished. False when fenced off."""
        return self._release(order, handed_over=False, fields={"stage": ""})

    def _release(self, order: Order, *, handed_over: bool, fields: dict[str, Any]) -> bool:
        args = [order.attempt, order.owner, self._ttl_s, int(handed_over), *_flat(fields)]
        return int(self._run("release", [self._keys.job(order.job_id)], args)) == 1

    def succeed(self, order: Order, answer: Answer, progress: Progress | None = None) -> bool:
        """False when fenced off or already final: the first answer stays."""
        fields = {"answer": codec.pack("answer", answer.to_fields())} | _row(progress)
        return self._commit(order.job_id, order, JobStatus.SUCCEEDED, fields)

    def fail(self, job_id: str, error: dict[str, Any], order: Order | None = None) -> bool:
        """End a job with an error; without an order, only one that nobody holds."""
        return self._commit(job_id, order, JobStatus.FAILED, {"error": codec.pack("error", error)})

    def end_cancelled(self, order: Order) -> bool:
        return self._commit(order.job_id, order, JobStatus.CANCELLED, {"cancel_requested": "1"})

    def unfinished(self, *, start: int, limit: int) -> list[Unfinished]:
        """A slice of the jobs that are not final, oldest first."""
        now, *rows = self._run("active", [self._keys.active, self._keys.job("")], [start, limit])
        jobs = []
        for at in range(0, len(rows), 6):
            job_id, status, stage, queued_at, lease_until, handed_over = rows[at : at + 6]
            since = queued_at if status == b"queued" else lease_until
            jobs.append(
                Unfinished(
                    job_id=job_id.decode(),
                    rendered=handed_over == b"1" or stage not in (b"", b"rendering"),
                    waiting_s=float(now) - float(since or 0),
                )
            )
        return jobs

    def _commit(
        self, job_id: str, order: Order | None, status: JobStatus, fields: dict[str, Any]
    ) -> bool:
        attempt, owner = ("", "") if order is None else (order.attempt, order.owner)
        args = [job_id, attempt, owner, self._ttl_s, status.value, *_flat(fields)]
        return int(self._run("commit", [self._keys.job(job_id), self._keys.active], args)) == 1


def _row(progress: Progress | None) -> dict[str, Any]:
    return {} if progress is None else {name: getattr(progress, name) for name in _PROGRESS}


def _flat(fields: dict[str, Any]) -> list[Any]:
    return [part for pair in fields.items() for part in pair] or ["v", codec.VERSION]


def _job(job_id: str, record: Record) -> Job:
    def number(name: str) -> float:
        return float(record.get(name.encode()) or 0)

    stage = record.get(b"stage", b"").decode()
    error = record.get(b"error")
    return Job(
        id=job_id,
        status=JobStatus(record[b"status"].decode()),
        stage=Stage(stage) if stage else None,
        progress=Progress(**{name: int(number(name)) for name in _PROGRESS}),
        attempt=int(number("attempt")),
        created_at=number("created_at"),
        started_at=number("started_at"),
        finished_at=number("finished_at"),
        document_digest=record[b"document_digest"].decode(),
        error=None if error is None else codec.unpack("error", error),
        cancel_requested=record.get(b"cancel_requested") == b"1",
    )
