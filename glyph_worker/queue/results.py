"""Celery's results and revoke as views of the job records, for anybody's app. Writes no result.

    Celery("shop", backend="glyph_worker.queue.results:JobResults+redis://127.0.0.1:6379/5",
           control="glyph_worker.queue.results:JobControl")

An id of a job of ours is answered from its record, any other by the backend named after the `+`, to
which all writes go. `glyph_worker.client.tasks.GlyphTasks` sets both. Where the records are is read
from GLYPH_* names unless the app has `glyph_records`. Leans on the reading methods of celery's
backends (`get_task_meta`, `wait_for_pending`, `add_pending_result`); a contract test guards them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from celery import states
from celery.app.backends import by_url
from celery.app.control import Control
from celery.exceptions import TaskRevokedError, TimeoutError

from glyph_worker.errors import JobFailed, StoreUnavailable, UnknownJob
from glyph_worker.job import Answer, Job, JobStatus
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.jobs import JobStore
from glyph_worker.store.keys import Keys
from glyph_worker.store.streams import StreamStore

STATES = {
    JobStatus.QUEUED: states.PENDING,
    JobStatus.RUNNING: states.STARTED,
    JobStatus.SUCCEEDED: states.SUCCESS,
    JobStatus.FAILED: states.FAILURE,
    JobStatus.CANCELLED: states.REVOKED,
}

_FASTEST_S, _LATE, _SLOWEST_S = 0.01, 0.1, 0.25
"""As Client.wait: a pause, which a job's end cuts short, is a tenth of the time waited so far."""


class JobRecords:
    """One tenant's records, read-only but for cancel. Connects at the first call."""

    def __init__(self, settings: Settings, *, tenant: str = "default") -> None:
        """Raises StoreUnavailable without a broker."""
        if settings.broker_url is None:
            raise StoreUnavailable("no broker: set GLYPH_BROKER_URL=redis://host:port/db")
        url, keys = settings.broker_url.get_secret_value(), Keys(settings.key_prefix)
        client, queue = connect(url), settings.queue
        self.tenant = tenant
        self._jobs = JobStore(client, keys, ttl_s=queue.job_ttl_s, lease_s=queue.lease_s)
        self._streams = StreamStore(client, keys, queue.job_ttl_s)

    @classmethod
    def of(cls, app: Any) -> JobRecords:
        """Those that the app was given, else those that the environment names."""
        found = getattr(app, "glyph_records", None)
        if found is None:
            found = app.glyph_records = cls(Settings.load())
        assert isinstance(found, JobRecords)
        return found

    def find(self, job_id: str) -> tuple[Job, Answer | None] | None:
        """None for an id that is no job's of this tenant."""
        try:
            job, answer, _ = self._jobs.outcome(job_id, tenant=self.tenant)
        except UnknownJob:
            return None
        return job, answer

    def cancel(self, job_id: str) -> bool:
        """Whether there is such a job; one that is final stays as it is."""
        return self._jobs.cancel(job_id, tenant=self.tenant) != "unknown"

    def wait_for_news(self, job_id: str, after: str, *, within_s: float) -> str:
        """Returns as soon as the job's stream has grown or the time is over, with its new end."""
        for delta in self._streams.read(job_id, after, block_s=within_s):
            after = delta.seq
        return after


def result_fields(answer: Answer) -> dict[str, Any]:
    """What `get()` returns: an Answer's fields, of types that every serializer holds."""
    fields = answer.to_fields()
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, str) else value  # a StrEnum is text on the wire


def meta_of(job: Job, answer: Answer | None) -> dict[str, Any]:
    """A record in the words of celery's backends."""
    result: Any = None
    if job.status is JobStatus.SUCCEEDED and answer is not None:
        result = result_fields(answer)
    elif job.status is JobStatus.FAILED:
        result = JobFailed.stored(job.error or {}, job.id)
    elif job.status is JobStatus.CANCELLED:
        result = TaskRevokedError(f"job {job.id} was cancelled")
    elif job.status is JobStatus.RUNNING:
        result = _plain(
            {"stage": job.stage, "attempt": job.attempt, "progress": job.to_fields()["progress"]}
        )
    ended = job.finished_at
    return {
        "task_id": job.id,
        "status": STATES[job.status],
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": None if ended is None else datetime.fromtimestamp(ended, UTC).isoformat(),
    }


class JobResults:
    """A result backend in front of the app's own. What is not here is the own one's."""

    supports_native_join = False
    """Results of a group are read one by one: some may be jobs, others not."""

    def __init__(self, app: Any, url: str | None = None, **_: Any) -> None:
        # Without a URL here, the app's setting is the own backend, unless that setting named us.
        named = url or (app.conf.result_backend if app.backend_cls else None)
        own, own_url = by_url(named, app.loader)
        self._own = own(app=app, url=own_url)
        self._app = app
        self._pending: set[str] = set()
        """Results that the own backend was told to watch."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_own"):
            raise AttributeError(name)
        return getattr(self._own, name)

    def __reduce__(self) -> Any:
        return _app_backend, (self._app,)

    def _find(self, task_id: str) -> dict[str, Any] | None:
        found = JobRecords.of(self._app).find(task_id)
        return None if found is None else meta_of(*found)

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        found = self._find(task_id)
        if found is not None:
            return found
        meta: dict[str, Any] = self._own.get_task_meta(task_id, cache=cache)
        return meta

    def task_result_exists(self, task_id: str) -> bool:
        return self._find(task_id) is not None or bool(self._own.task_result_exists(task_id))

    def get_state(self, task_id: str) -> str:
        return str(self.get_task_meta(task_id)["status"])

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        return self.get_task_meta(task_id).get("result")

    def get_traceback(self, task_id: str) -> Any:
        return self.get_task_meta(task_id).get("traceback")

    def get_children(self, task_id: str) -> Any:
        return self.get_task_meta(task_id).get("children")

    def is_cached(self, task_id: str) -> bool:
        return False

    def reload_task_result(self, task_id: str) -> None:
        if self._find(task_id) is None:
            self._own.reload_task_result(task_id)

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        if self._find(result.id) is not None:
            return result
        self._pending.add(result.id)
        return self._own.add_pending_result(result, weak=weak)

    def remove_pending_result(self, result: Any) -> Any:
        # Called for every result that goes out of use: it must ask no server.
        if result.id not in self._pending:
            return result
        self._pending.discard(result.id)
        return self._own.remove_pending_result(result)

    def forget(self, task_id: str) -> None:
        """The own backend's copy, if it has one; a record goes by its own time to live."""
        if self._find(task_id) is None or self._own.is_async:
            self._own.forget(task_id)

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Any = None,
        on_interval: Callable[[], Any] | None = None,
        callback: Any = None,
        propagate: bool = True,
    ) -> Any:
        """Raises celery's TimeoutError, and what the record says of a job that did not succeed."""
        began, after = time.monotonic(), "0"
        while True:
            meta = self._find(result.id)
            if meta is None:
                left_s = None if timeout is None else max(0.0, timeout + began - time.monotonic())
                return self._own.wait_for_pending(
                    result, timeout=left_s, interval=interval, no_ack=no_ack,
                    on_message=on_message, on_interval=on_interval, callback=callback,
                    propagate=propagate,
                )  # fmt: skip
            if meta["status"] in states.READY_STATES:
                result._maybe_set_cache(meta)
                return result.maybe_throw(propagate=propagate, callback=callback)
            waited_s = time.monotonic() - began
            if timeout is not None and waited_s >= timeout:
                raise TimeoutError(f"job {result.id} is {meta['status']} after {timeout:g} s")
            if on_interval is not None:
                on_interval()
            pause_s = min(max(_FASTEST_S, _LATE * waited_s), _SLOWEST_S)
            if timeout is not None:
                pause_s = min(pause_s, max(0.001, timeout - waited_s))
            after = JobRecords.of(self._app).wait_for_news(result.id, after, within_s=pause_s)


def _app_backend(app: Any) -> Any:
    return app.backend


class JobControl(Control):  # type: ignore[misc]
    """Revoke of a job's id cancels the job; of any other id it is celery's own broadcast."""

    def revoke(self, task_id: Any, *args: Any, **kwargs: Any) -> Any:
        ids = task_id if isinstance(task_id, (list, tuple, set)) else [task_id]
        records = JobRecords.of(self.app)
        others = [one for one in ids if not records.cancel(str(one))]
        if not others:
            return None
        return super().revoke(others if len(ids) > 1 else others[0], *args, **kwargs)
