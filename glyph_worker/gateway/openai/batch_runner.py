"""Moves batches on: lines become jobs, ended jobs become files. Any gateway, in any order, again.

A batch is taken for a while, moved a step and saved. Job ids and file ids follow from the batch's,
so a gateway that dies, or two that have taken the same one, do nothing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import structlog

from glyph_worker.client import Client
from glyph_worker.errors import (
    DeadlineTooShort,
    GlyphError,
    JobFinished,
    RefusedError,
    RequestError,
    TransientError,
    UnknownJob,
)
from glyph_worker.gateway.deps import Context
from glyph_worker.gateway.openai.asking import submit
from glyph_worker.gateway.openai.batch_lines import (
    CANCELLED,
    EXPIRED,
    LOST,
    Line,
    body_of,
    error_line,
    failure_of,
    job_id_of,
    lines_of,
    output_line,
    refusal_of,
    succeeded,
)
from glyph_worker.gateway.openai.requests import ResponseBody
from glyph_worker.gateway.openai.responses import surface_of
from glyph_worker.gateway.threads import threaded
from glyph_worker.job import Answer, Job, JobStatus
from glyph_worker.options import MAX_TTL_S
from glyph_worker.store.batches import Batch, BatchStatus, UnknownBatch

log = structlog.get_logger(__name__)

PERIOD_S = 0.5
AGAIN_S, LINES_PER_S, SLOWEST_S = 1.0, 1_000, 20.0
"""A batch whose jobs run is looked at this often, a long one less often: all records are read."""
MAX_KNOWN = 4
"""Batches whose lines are kept from one step to the next."""
LEASE_S = 30.0
MAX_AT_ONCE = 4
LINES_A_STEP = 200
"""Lines that become jobs before how far it is, is saved."""
JOBS_A_READ = 200

Outcome = tuple[Job, Answer | None, bytes]


class BatchRunner:
    """One per gateway process; several share the work through the store."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._task: asyncio.Task[None] | None = None
        self._known: OrderedDict[str, list[Line]] = OrderedDict()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if (task := self._task) is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            try:
                due = await threaded(self._context.batches.take, limit=MAX_AT_ONCE, lease_s=LEASE_S)
            except GlyphError as exc:
                log.warning("batches.waiting", error=exc.code)
                due = []
            for tenant, batch_id in due:
                try:
                    await self._move(tenant, batch_id)
                except GlyphError as exc:
                    log.warning("batches.waiting", error=exc.code)
                except Exception:  # one batch's edge: the lease brings it back, others go on
                    log.exception("batches.crashed")
            if not due:
                await asyncio.sleep(PERIOD_S)

    async def _move(self, tenant: str, batch_id: str) -> None:
        """One step. Raises GlyphError for the store's troubles: the lease brings it back."""
        store = self._context.batches
        try:
            batch = await threaded(store.get, tenant, batch_id)
        except UnknownBatch:
            return
        # Gateways' own clocks may be minutes apart, and any of them may move it next.
        ahead_s = await threaded(store.now) - time.monotonic()
        now = ahead_s + time.monotonic()
        lines, faults = await self._lines(batch)
        if faults:
            ended = replace(batch, status=BatchStatus.FAILED, errors=faults, ended_at=now)
            await threaded(store.save, ended, again_s=0)
            return
        if batch.status is BatchStatus.VALIDATING:
            batch = replace(
                batch, status=BatchStatus.IN_PROGRESS, num_lines=len(lines),
                in_progress_at=now,
            )  # fmt: skip
        client = self._context.client(tenant)
        stopped = await threaded(store.cancel_asked, tenant, batch_id)
        if stopped and batch.cancelling_at is None:
            batch = replace(batch, cancelling_at=now, num_lines=len(lines))
        late = now >= batch.expires_at
        again_s = min(SLOWEST_S, AGAIN_S + len(lines) / LINES_PER_S)
        if not (stopped or late) and batch.num_submitted < len(lines):
            until = batch.expires_at - ahead_s
            batch, again_s = await self._ask(batch, lines, client, again_s, until=until)
        # A gateway that died in the middle of a step has asked more than it could save.
        most = batch.num_submitted + (LINES_A_STEP if stopped or late else 0)
        outcomes = await self._outcomes(batch, client, min(len(lines), most))
        if stopped or late:
            await self._take_back(outcomes, client)
            outcomes = await self._outcomes(batch, client, len(outcomes))
        batch = self._counted(batch, outcomes, lines)
        all_asked = stopped or late or batch.num_submitted == len(lines)
        if all_asked and all(one is None or one[0].status.final for one in outcomes):
            batch = replace(batch, ended_at=ahead_s + time.monotonic())
            await self._finish(batch, lines, outcomes, stopped=stopped, late=late)
        else:
            await threaded(store.save, batch, again_s=again_s)

    async def _lines(self, batch: Batch) -> tuple[list[Line], list[dict[str, Any]]]:
        """The batch's lines, or what is wrong with them."""
        if batch.id in self._known:
            self._known.move_to_end(batch.id)
            return self._known[batch.id], []
        raw = await threaded(self._context.batches.lines, batch.tenant, batch.id)
        lines, faults = await threaded(lines_of, raw, batch.endpoint)
        self._known[batch.id] = lines
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        if faults:
            del self._known[batch.id]
        return lines, faults

    async def _ask(
        self, batch: Batch, lines: list[Line], client: Client, again_s: float, *, until: float
    ) -> tuple[Batch, float]:
        """Make jobs of the next lines, which must end by `until` on our monotonic clock. Returns
        the batch, and when to come back: at once while there are more."""
        refused = dict(batch.refused)
        number = batch.num_submitted
        last = min(len(lines), number + LINES_A_STEP)
        again_s = 0.0 if last < len(lines) else again_s
        while number < last:
            try:
                await self._ask_line(batch, number, lines[number], client, until - time.monotonic())
            except DeadlineTooShort as exc:
                refused[str(number)] = refusal_of(exc)
            except RefusedError as exc:
                again_s = max(AGAIN_S, min(exc.retry_after_s, LEASE_S))
                break
            except TransientError:
                again_s = AGAIN_S
                break
            except RequestError as exc:
                refused[str(number)] = refusal_of(exc)
            number += 1
        return replace(batch, num_submitted=number, refused=refused), again_s

    async def _ask_line(
        self, batch: Batch, number: int, line: Line, client: Client, left_s: float
    ) -> None:
        body = body_of(line, batch.endpoint)
        if isinstance(body, ResponseBody):
            surface = surface_of(body)
        else:
            surface = {"api": "chat", "model": body.model}
        left_s = max(1.0, left_s)
        # Its record is read when the last line has ended, which may be the window's end.
        ttl_s = min(MAX_TTL_S, self._context.settings.queue.job_ttl_s + int(left_s) + 1)
        await submit(
            self._context, client, body, surface=surface, job_id=job_id_of(batch.id, number),
            priority="bulk", deadline_s=left_s, ttl_s=ttl_s,
        )  # fmt: skip

    async def _outcomes(self, batch: Batch, client: Client, count: int) -> list[Outcome | None]:
        """Of the first lines; None for one that no job was made of, or that is gone."""
        found: list[Outcome | None] = []
        for start in range(0, count, JOBS_A_READ):
            numbers = range(start, min(count, start + JOBS_A_READ))
            ids = [job_id_of(batch.id, number) for number in numbers]
            found += await threaded(client.outcomes, ids)
        return found

    async def _take_back(self, outcomes: list[Outcome | None], client: Client) -> None:
        for one in outcomes:
            if one is not None and not one[0].status.final:
                with contextlib.suppress(JobFinished, UnknownJob):
                    await threaded(client.cancel, one[0].id)

    @staticmethod
    def _counted(batch: Batch, outcomes: list[Outcome | None], lines: list[Line]) -> Batch:
        final = [one for one in outcomes if one is not None and one[0].status.final]
        num_completed = sum(succeeded(one[0]) for one in final)
        num_gone = sum(one is None for one in outcomes[: batch.num_submitted])
        return replace(
            batch, num_lines=len(lines), num_completed=num_completed,
            num_failed=len(final) - num_completed + num_gone,
        )  # fmt: skip

    async def _finish(
        self,
        batch: Batch,
        lines: list[Line],
        outcomes: list[Outcome | None],
        *,
        stopped: bool,
        late: bool,
    ) -> None:
        left = CANCELLED if stopped else EXPIRED
        good, bad = await threaded(_files_of, batch, lines, outcomes, left)
        files: dict[str, Any] = {}
        for kind, rows in (("output", good), ("error", bad)):
            if rows:
                file_id = f"file-{uuid.uuid5(uuid.NAMESPACE_URL, f'{batch.id}/{kind}').hex}"
                await threaded(
                    self._context.uploads.put, batch.tenant, file_id, b"".join(rows),
                    name=f"{batch.id}_{kind}.jsonl", purpose="batch_output", ours=True,
                )  # fmt: skip
                files[f"{kind}_file_id"] = file_id
        status = BatchStatus.COMPLETED
        if stopped:
            status = BatchStatus.CANCELLED
        elif late:
            status = BatchStatus.EXPIRED
        ended = replace(
            batch, status=status, num_completed=len(good), num_failed=len(bad), **files,
        )  # fmt: skip
        await threaded(self._context.batches.save, ended, again_s=0)
        self._known.pop(batch.id, None)
        log.info("batch.ended", status=status.value, num_lines=len(lines), num_failed=len(bad))


def _files_of(
    batch: Batch, lines: list[Line], outcomes: list[Outcome | None], left: dict[str, Any]
) -> tuple[list[bytes], list[bytes]]:
    """Rows of the output and of the error file, in the order of the lines."""
    good, bad = [], []
    for number, line in enumerate(lines):
        job_id = job_id_of(batch.id, number)
        one = outcomes[number] if number < len(outcomes) else None
        if one is not None and (answer := one[1]) is not None:
            surface = json.loads(one[2])
            good.append(output_line(line.custom_id, batch.endpoint, one[0], answer, surface))
            continue
        if str(number) in batch.refused:
            why = batch.refused[str(number)]
        elif one is not None and one[0].status is JobStatus.FAILED:
            why = failure_of(one[0])
        elif one is None and number < batch.num_submitted:
            why = LOST
        else:
            why = left
        bad.append(error_line(line.custom_id, job_id, why))
    return good, bad
