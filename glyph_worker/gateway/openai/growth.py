"""A job's text as it grows, in the same pieces on every gateway and at every time it is asked.

The pieces come from the entries of the job's stream alone. A worker that dies leaves an attempt
unfinished, and the next begins its text anew: what was given out is compared, and only what goes
beyond it is given out. The same seed gives the same text, so the two agree unless workers compute
differently; then nothing that a reader has can be made right, and AnswerChanged says so.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from glyph_worker.client import Client
from glyph_worker.errors import JobError, RefusedError
from glyph_worker.gateway.deps import Context
from glyph_worker.gateway.threads import threaded
from glyph_worker.job import Answer, Delta
from glyph_worker.store.streams import FIRST, Cursor

_PAUSE_S, _SETTLED_S = 2.0, 0.3
"""How long a stream without news is waited for before its record is looked at; the second, of a job
that was final before: its stream is read out at once, or gone."""


class AnswerChanged(JobError):
    code = "answer_changed"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            "a worker ended and the next one's answer is another than what was streamed; "
            "fetch the whole answer by its id",
            job_id=job_id,
        )


class Joined:
    """What was given out, and what an entry adds to it."""

    def __init__(self, job_id: str) -> None:
        self.text = ""
        self._job_id = job_id
        self._attempt: int | None = None
        self._at = 0
        """Characters of the present attempt so far."""

    def add(self, delta: Delta) -> str:
        """Raises AnswerChanged."""
        if delta.anew or (delta.text and delta.attempt != self._attempt):
            self._attempt, self._at = delta.attempt, 0
        return self._join(delta.text)

    def finish(self, text: str) -> str:
        """What the whole answer adds, where the stream was trimmed or is gone."""
        self._at = 0
        return self._join(text)

    def _join(self, text: str) -> str:
        known = self.text[self._at : self._at + len(text)]
        if text[: len(known)] != known:
            raise AnswerChanged(self._job_id)
        self._at += len(text)
        fresh = text[len(known) :]
        self.text += fresh
        return fresh


def stopping() -> RefusedError:
    return RefusedError("this gateway is stopping; ask again at once", retry_after_s=0.5)


async def grown(context: Context, client: Client, job_id: str) -> AsyncGenerator[str | Answer]:
    """Pieces of text, '' now and then when there is none, and the whole answer at last.

    Raises JobFailed, JobCancelled, UnknownJob, AnswerChanged, RefusedError (the gateway stops),
    StoreUnavailable.
    """
    joined = Joined(job_id)
    final = (await threaded(client.status, job_id)).status.final
    heard = time.monotonic()
    pause_s = _SETTLED_S if final else _PAUSE_S
    async for fresh in context.watcher.follow(job_id, Cursor.at(FIRST), idle_s=pause_s):
        for delta in fresh:
            if delta.text and (piece := joined.add(delta)):
                heard = time.monotonic()
                yield piece
            final = final or delta.status is not None
        if any(delta.status is not None for delta in fresh):
            break
        if not fresh:
            if final:
                break  # its stream is read out, or gone
            final = (await threaded(client.status, job_id)).status.final
            if time.monotonic() - heard > context.settings.gateway.stream_idle_s:
                heard = time.monotonic()
                yield ""
    answer = await threaded(client.result, job_id)
    if answer is None:
        raise stopping()
    if piece := joined.finish(answer.text):
        yield piece
    yield answer
