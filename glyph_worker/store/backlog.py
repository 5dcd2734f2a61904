"""Jobs that wait: admission, whose turn it is, how long it will take. Fair over tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from glyph_worker import codec
from glyph_worker.errors import Conflict, InvalidOption, QueueFull, QuotaExceeded
from glyph_worker.job import Eta, Priority
from glyph_worker.job_options import JobOptions
from glyph_worker.setting_sections import QueueSettings
from glyph_worker.store.connection import Server
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts, flat


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """What a surface other than the client's own keeps in a job's record for itself."""

    outbox: str = ""
    """Name of the Celery application that is told of the job's end; '' for none."""
    links: bytes = b""
    """What it is told: an envelope that only the outbox's reader opens."""
    surface: bytes = b""
    """The request as its surface shows it again, e.g. a response of OpenAI's API."""


NOTHING = Noted()


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """One job as a producer hands it in."""

    job_id: str
    tenant: str
    priority: Priority
    document_digest: str
    question: str
    options: JobOptions
    cost: float
    """Estimated device seconds; only proportions matter."""
    ttl_s: int
    deadline_s: float | None = None
    """Seconds from now, on the server's clock."""
    webhook: str = ""
    idempotency_key: str = ""
    """Hashed; '' for none."""
    payload_digest: str = ""
    retry_of: str = ""
    document_notes: tuple[str, ...] = ()
    document_names: tuple[str, ...] = ()
    traceparent: str = ""
    """The producer's span (W3C), which both stages continue; '' for none."""
    noted: Noted = NOTHING


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePosition:
    num_before: int
    """Jobs that will start earlier; -1 for one that does not wait."""
    eta: Eta | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    job_id: str
    """An earlier job's for a repeated idempotency key."""
    is_new: bool
    at: float
    """When, in seconds since the epoch on the server's clock."""


class Backlog:
    """Raises StoreUnavailable, StoreFull or StoreDenied from every method."""

    def __init__(self, client: Server, keys: Keys, *, settings: QueueSettings) -> None:
        self._settings = settings
        self._run = Scripts(client, keys, ttl_s=settings.job_ttl_s)

    def submit(self, new: Submission) -> Queued:
        """As `submit_many`, for one."""
        return self.submit_many([new])[0]

    def submit_many(self, jobs: Sequence[Submission]) -> list[Queued]:
        """Write QUEUED records behind their tenant's others, all or none, and publish whose turn
        it is. The jobs are of one tenant and priority.

        Raises Conflict, QueueFull, QuotaExceeded.
        """
        if not jobs:
            return []
        settings, first = self._settings, jobs[0]
        args: list[Any] = [
            first.tenant, int(first.priority), settings.max_jobs, settings.max_jobs_per_tenant,
            settings.dispatch_window,
        ]  # fmt: skip
        for job in jobs:
            assert (job.tenant, job.priority) == (first.tenant, first.priority)
            fields = flat(_fields(job))
            args += [
                job.job_id, job.cost, job.idempotency_key, job.payload_digest, job.ttl_s,
                job.document_digest, "" if job.deadline_s is None else job.deadline_s,
                len(fields), *fields,
            ]  # fmt: skip
        outcome, *found = self._run("submit", *args)
        if outcome == b"queued":
            now = float(found[0])
            return [
                Queued(job_id=job_id.decode(), is_new=kind == b"new", at=now)
                for job_id, kind in zip(found[1::2], found[2::2], strict=True)
            ]
        if outcome == b"conflict":
            raise Conflict(
                "this idempotency key was used with another payload; "
                "send the same document, question and options, or choose a new key",
                job_id=found[0].decode(),
            )
        self._refuse(outcome, int(found[0]), jobs)
        raise AssertionError("unreachable")

    def _refuse(self, outcome: bytes, number: int, jobs: Sequence[Submission]) -> None:
        settings, first = self._settings, jobs[0]
        whole = outcome == b"queue_full"
        limit = settings.max_jobs if whole else settings.max_jobs_per_tenant
        if len(jobs) > limit:
            raise InvalidOption(
                f"{len(jobs)} questions in one call, limit of unfinished jobs is {limit}; "
                "send them in several",
                limit=limit,
            )
        retry_after_s = self._retry_after_s(first)
        more = "" if len(jobs) == 1 else f" and {len(jobs)} more were asked for, none is queued"
        if whole:
            raise QueueFull(
                f"{number} jobs are unfinished{more}, limit is {limit}; "
                f"try again in {retry_after_s:.0f} s, or add workers",
                retry_after_s=retry_after_s,
                num_jobs=number,
            )
        raise QuotaExceeded(
            f"tenant {first.tenant!r} has {number} unfinished jobs{more}, its limit is {limit}; "
            "wait for some to end",
            retry_after_s=retry_after_s,
            num_jobs=number,
        )

    def dispatch(self) -> int:
        """Publish the jobs whose turn it is now. Returns how many."""
        return int(self._run("dispatch", self._settings.dispatch_window))

    def outlook(self, job_id: str) -> QueuePosition:
        """Place in line and time to the end of one job."""
        return _outlook(self._run("outlook", job_id))

    def outlook_of_cost(self, cost: float, *, priority: Priority, tenant: str) -> QueuePosition:
        """The same for a job that is not yet submitted."""
        return _outlook(self._run("outlook", "", cost, int(priority), tenant))

    def _retry_after_s(self, new: Submission) -> float:
        eta = self.outlook_of_cost(new.cost, priority=new.priority, tenant=new.tenant).eta
        # A share of the line, not all of it: room appears as soon as the first jobs end.
        return 5.0 if eta is None else min(300.0, max(1.0, eta.p50_s / 10))


def _fields(job: Submission) -> dict[str, Any]:
    """What the record holds beside what the script writes itself."""
    fields = {"question": job.question, "options": codec.pack("options", job.options.to_fields())}
    notes = codec.pack("document_notes", {"notes": job.document_notes})
    names = codec.pack("document_names", {"names": job.document_names})
    extra = {
        "webhook": job.webhook,
        "retry_of": job.retry_of,
        "traceparent": job.traceparent,
        "document_notes": notes if job.document_notes else b"",
        "document_names": names if job.document_names else b"",
        "outbox": job.noted.outbox,
        "links": job.noted.links,
        "surface": job.noted.surface,
    }
    return fields | {name: value for name, value in extra.items() if value}


def _outlook(reply: Sequence[bytes]) -> QueuePosition:
    num_before, *quantiles = (float(raw) for raw in reply)
    eta = Eta(p50_s=quantiles[0], p90_s=quantiles[1]) if quantiles else None
    return QueuePosition(num_before=int(num_before), eta=eta)
