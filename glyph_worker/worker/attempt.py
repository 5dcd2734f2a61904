"""One try at a job under Celery: claim, work, and exactly one honest end. Both stages use it."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import structlog
from celery.exceptions import Reject

from glyph_worker.errors import (
    ConfigurationError,
    GlyphError,
    JobError,
    RefusedError,
    RequestError,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
    TransientError,
    WorkerDraining,
)
from glyph_worker.job import Stage
from glyph_worker.setting_sections import QueueSettings
from glyph_worker.store.job_record import ClaimedJob
from glyph_worker.store.jobs import ClaimResult, JobStore
from glyph_worker.traces import Traces

log = structlog.get_logger(__name__)

DENIED_S = 1.0
"""Pause before a job is tried again that a store did not let us work on."""

HELD_S = 1.0
"""Pause before a message whose job is held is looked at again: a part of the recovery time."""

T = TypeVar("T")


class Fenced(GlyphError):
    """A later attempt holds the job; nothing this one does counts any more."""

    code = "fenced"


class Cancelled(GlyphError):
    """The producer took the job back."""

    code = "cancelled"


def attempt(
    task: Any,
    jobs: JobStore,
    job_id: str,
    *,
    owner: str,
    stage: Stage,
    settings: QueueSettings,
    traces: Traces,
    work: Callable[[ClaimedJob], T],
) -> T | None:
    """Claim the job and do `work`, which ends it or hands it over; settle whatever goes wrong.

    Returns what `work` returns, or None where there is nothing more to do with this message.
    Raises celery's Retry (again later) and Reject (back to the queue, for another worker).
    """
    verdict, claimed = retry_until_stored(lambda: jobs.claim(job_id, owner=owner, stage=stage))
    if claimed is None:
        log.info("job.not_claimed", job_id=job_id, stage=stage.value, verdict=verdict.value)
        if verdict is ClaimResult.HELD:
            # A duplicate, or an early redelivery: look again soon, for its holder may be dead.
            raise task.retry(countdown=min(HELD_S, settings.lease_s / 3), max_retries=None)
        return None
    bound = log.bind(job_id=job_id, stage=stage.value, attempt=claimed.attempt)
    try:
        with traces.span(
            task.name, parent=claimed.traceparent, job_id=job_id, attempt=claimed.attempt
        ):
            return work(claimed)
    except Fenced:
        bound.warning("job.fenced")
    except Cancelled:
        retry_until_stored(lambda: jobs.end_cancelled(claimed))
        bound.info("job.cancelled")
    except WorkerDraining as exc:
        retry_until_stored(lambda: jobs.hand_back(claimed))
        bound.info("job.handed_back")
        raise Reject(str(exc), requeue=True) from exc
    except (StoreDenied, StoreUnsuitable) as exc:
        # The operator's to mend, and nothing of this job's: this worker ends over it (lifecycle),
        # and the job waits for one that is let in.
        retry_until_stored(lambda: jobs.hand_back(claimed))
        bound.error("job.handed_back", error=exc.code, message=str(exc))
        raise task.retry(countdown=DENIED_S, max_retries=None) from exc
    except TransientError as exc:
        _again_or_fail(task, jobs, claimed, exc, settings)
    except (RequestError, RefusedError, ConfigurationError, JobError) as exc:
        wire = exc.to_wire()
        retry_until_stored(lambda: jobs.fail(job_id, wire, claimed))
        bound.info("job.failed", error=exc.code)
    except Exception as exc:  # noqa: BLE001 - the loop's edge: whatever it was, the job must end
        bound.error("job.crashed", traceback=_frames(exc))
        wire = GlyphError(
            f"an unexpected {type(exc).__name__} in {stage.value}; the worker's log has its trace"
        ).to_wire()
        retry_until_stored(lambda: jobs.fail(job_id, wire, claimed))
    return None


def retry_until_stored(call: Callable[[], T]) -> T:
    """Repeat until Redis takes it: a broker that is away must not turn into a wrong end."""
    pause_s = 0.1
    while True:
        try:
            return call()
        except (StoreUnavailable, StoreFull) as exc:
            log.warning("store.waiting", error=exc.code, message=str(exc))
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)


def _again_or_fail(
    task: Any, jobs: JobStore, claimed: ClaimedJob, exc: TransientError, settings: QueueSettings
) -> None:
    if claimed.attempt >= settings.max_attempts:
        retry_until_stored(lambda: jobs.fail(claimed.job_id, exc.to_wire(), claimed))
        log.warning("job.failed", job_id=claimed.job_id, error=exc.code, attempt=claimed.attempt)
        return
    # Full jitter: a fault that hit many jobs at once must not bring them back at once.
    countdown = random.uniform(0.1, min(30.0, 0.5 * 2**claimed.attempt))
    retry_until_stored(lambda: jobs.hand_back(claimed))
    log.info("job.retried", job_id=claimed.job_id, error=exc.code, countdown_s=round(countdown, 2))
    raise task.retry(countdown=countdown, max_retries=None)


def _frames(exc: BaseException) -> str:
    """Where it happened, without the exception's text, which may quote the document."""
    return "".join(traceback.format_tb(exc.__traceback__)) + type(exc).__name__
