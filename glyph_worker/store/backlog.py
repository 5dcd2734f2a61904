"""Jobs that wait: admission, whose turn it is, how long it will take. Fair over tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from glyph_worker import codec
from glyph_worker.errors import Conflict, QueueFull, QuotaExceeded
from glyph_worker.job import Eta, JobOptions, Priority
from glyph_worker.settings import QueueSettings
from glyph_worker.store.keys import Keys
from glyph_worker.store.scripts import Scripts, flat


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
    deadline_at: float | None = None
    webhook: str = ""
    idempotency_key: str = ""
    """Hashed; '' for none."""
    payload_digest: str = ""
    retry_of: str = ""
    document_notes: tuple[str, ...] = ()
    traceparent: str = ""
    """The producer's span (W3C), which both stages continue; '' for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueuePosition:
    num_before: int
    """Jobs that will start earlier; -1 for one that does not wait."""
    eta: Eta | None


class Backlog:
    """Raises StoreUnavailable, StoreFull or StoreDenied from every method."""

    def __init__(
        self, client: redis.Redis, keys: Keys, *, url: str, settings: QueueSettings
    ) -> None:
        self._settings = settings
        self._run = Scripts(client, keys, url=url, ttl_s=settings.job_ttl_s)

    def submit(self, new: Submission) -> tuple[str, bool]:
        """Write a QUEUED record behind its tenant's others, and publish whose turn it is.

        Returns the job's id (an earlier one's for a repeated idempotency key) and whether it is
        new. Raises Conflict, QueueFull, QuotaExceeded.
        """
        settings = self._settings
        fields: dict[str, Any] = {
            "document_digest": new.document_digest,
            "question": new.question,
            "options": codec.pack("options", new.options.to_fields()),
        }
        if new.deadline_at is not None:
            fields["deadline_at"] = new.deadline_at
        if new.webhook:
            fields["webhook"] = new.webhook
        if new.retry_of:
            fields["retry_of"] = new.retry_of
        if new.document_notes:
            fields["document_notes"] = codec.pack("document_notes", {"notes": new.document_notes})
        if new.traceparent:
            fields["traceparent"] = new.traceparent
        outcome, *found = self._run(
            "submit", new.job_id, new.tenant, int(new.priority), new.cost, settings.max_jobs,
            settings.max_jobs_per_tenant, settings.dispatch_window, new.idempotency_key,
            new.payload_digest, new.ttl_s, *flat(fields),
        )  # fmt: skip
        if outcome == b"created":
            return found[0].decode(), True
        if outcome in (b"same", b"exists"):
            return found[0].decode(), False
        if outcome == b"conflict":
            raise Conflict(
                "this idempotency key was used with another payload; "
                "send the same document, question and options, or choose a new key",
                job_id=found[0].decode(),
            )
        number = int(found[0])
        retry_after_s = self._retry_after_s(new)
        if outcome == b"queue_full":
            raise QueueFull(
                f"{number} jobs are unfinished, limit is {settings.max_jobs}; "
                f"try again in {retry_after_s:.0f} s, or add workers",
                retry_after_s=retry_after_s,
                num_jobs=number,
            )
        raise QuotaExceeded(
            f"tenant {new.tenant!r} has {number} unfinished jobs, its limit is "
            f"{settings.max_jobs_per_tenant}; wait for some to end",
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


def _outlook(reply: Sequence[bytes]) -> QueuePosition:
    num_before, *quantiles = (float(raw) for raw in reply)
    eta = Eta(p50_s=quantiles[0], p90_s=quantiles[1]) if quantiles else None
    return QueuePosition(num_before=int(num_before), eta=eta)
