"""The client for asyncio: the same verbs; what waits holds no thread. Light."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from glyph_worker.document import Source, Sources
from glyph_worker.job import Answer, Delta, Job, JobStatus
from glyph_worker.options import SubmitOptions
from glyph_worker.store.listing import JobPage
from glyph_worker.store.streams import Cursor
from glyph_worker.store.watcher import Watcher

if TYPE_CHECKING:
    from glyph_worker.client.client import Client

_T = TypeVar("_T")

_IDLE_S, _LOOK_S = 1.0, 5.0
"""A stream without news, and a wait, look at the record this often: a job may vanish."""
_AT_ONCE_S = 0.01
"""Past its deadline, a job that ended in the same moment."""


class AsyncClient:
    """A thin asyncio shell: each verb runs the one synchronous core in a thread, for a moment.

    All streams and waits of an event loop share one connection, which is closed with the last.
    """

    def __init__(self, core: Client) -> None:
        self._core = core
        self._watchers: dict[asyncio.AbstractEventLoop, Watcher] = {}

    async def submit(
        self,
        document: Source | Sources | None,
        question: str,
        **options: Unpack[SubmitOptions],
    ) -> Job:
        return await _threaded(self._core.submit, document, question, **options)

    async def submit_many(
        self,
        document: Source | Sources | None,
        questions: Iterable[str],
        **options: Unpack[SubmitOptions],
    ) -> list[Job]:
        return await _threaded(self._core.submit_many, document, questions, **options)

    async def retry(self, job_id: str) -> Job:
        return await _threaded(self._core.retry, job_id)

    async def status(self, job_id: str) -> Job:
        return await _threaded(self._core.status, job_id)

    async def status_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        return await _threaded(self._core.status_many, job_ids)

    async def list_jobs(
        self,
        *,
        limit: int = 50,
        cursor: str | None = None,
        statuses: Sequence[JobStatus] = (),
        priority: str | None = None,
    ) -> JobPage:
        """As Client.list_jobs."""
        return await _threaded(
            self._core.list_jobs, limit=limit, cursor=cursor, statuses=statuses, priority=priority
        )

    async def result(self, job_id: str) -> Answer | None:
        return await _threaded(self._core.result, job_id)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> Answer:  # noqa: ASYNC109
        """As Client.wait."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            answer = await self.result(job_id)
            if answer is not None:
                return answer
            left_s = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
            if left_s <= 0:
                await _threaded(self._core._check_late, job_id, timeout)
                left_s = _AT_ONCE_S
            await self._watcher.ended(job_id, within_s=left_s)

    async def cancel(self, job_id: str) -> Job:
        return await _threaded(self._core.cancel, job_id)

    async def stream(self, job_id: str, *, after: str = "0") -> AsyncIterator[Delta]:
        """As Client.stream."""
        cursor = Cursor.at(after)
        job = await self.status(job_id)
        if not job.status.final:
            news = self._watcher.follow(job_id, cursor, idle_s=_IDLE_S)
            async with contextlib.aclosing(news):
                async for fresh in news:
                    for delta in fresh:
                        if delta.status is not None and cursor.torn:
                            yield await _threaded(self._core.missed, job_id)
                        yield delta
                    if not fresh and (await self.status(job_id)).status.final:
                        break
        # It is all there, or gone: nothing waits any more.
        while not cursor.ended:
            for delta in await _threaded(self._core.next_deltas, job_id, cursor):
                yield delta

    @property
    def _watcher(self) -> Watcher:
        """Of the running event loop, whose connections no other can use."""
        loop, core = asyncio.get_running_loop(), self._core
        if loop not in self._watchers:
            for ended in [known for known in list(self._watchers) if known.is_closed()]:
                self._watchers.pop(ended, None)
            self._watchers[loop] = Watcher(core._redis, core._keys)
        return self._watchers[loop]


async def _threaded(call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    return await asyncio.to_thread(call, *args, **kwargs)
