"""The client for asyncio: the same verbs, no thread or connection held between two looks. Light."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from glyph_worker.job import Answer, Delta, Job
from glyph_worker.options import SubmitOptions

if TYPE_CHECKING:
    from glyph_worker.client.client import Client

_T = TypeVar("_T")


class AsyncClient:
    """A thin asyncio shell: each verb runs the one synchronous core in a thread."""

    def __init__(self, core: Client) -> None:
        self._core = core

    async def submit(
        self, document: str | bytes, question: str, **options: Unpack[SubmitOptions]
    ) -> Job:
        return await _threaded(self._core.submit, document, question, **options)

    async def submit_many(
        self, document: str | bytes, questions: Iterable[str], **options: Unpack[SubmitOptions]
    ) -> list[Job]:
        return await _threaded(self._core.submit_many, document, questions, **options)

    async def retry(self, job_id: str) -> Job:
        return await _threaded(self._core.retry, job_id)

    async def status(self, job_id: str) -> Job:
        return await _threaded(self._core.status, job_id)

    async def status_many(self, job_ids: Sequence[str]) -> list[Job | None]:
        return await _threaded(self._core.status_many, job_ids)

    async def result(self, job_id: str) -> Answer | None:
        return await _threaded(self._core.result, job_id)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> Answer:  # noqa: ASYNC109
        """As Client.wait; between two looks no thread and no connection is held."""
        polls = self._core._polls(job_id, timeout)
        while True:
            pause_s = await _threaded(next, polls)
            answer = await self.result(job_id)
            if answer is not None:
                return answer
            await asyncio.sleep(pause_s)

    async def cancel(self, job_id: str) -> Job:
        return await _threaded(self._core.cancel, job_id)

    async def stream(self, job_id: str, *, after: str = "0") -> AsyncIterator[Delta]:
        """As Client.stream."""
        while True:
            deltas, done = await _threaded(self._core._next_deltas, job_id, after)
            for delta in deltas:
                after = delta.seq
                yield delta
            if done:
                return


async def _threaded(call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    return await asyncio.to_thread(call, *args, **kwargs)
