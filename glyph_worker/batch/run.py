"""From source to target: keeps some hundred jobs in flight, and writes each end as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from glyph_worker.client import Client
from glyph_worker.client.batch.answers import AnswersFile
from glyph_worker.client.batch.lines import BadLine, Line, read_lines
from glyph_worker.document import digest
from glyph_worker.errors import (
    DeadlineTooShort,
    GlyphError,
    RefusedError,
    RequestError,
    TransientError,
)
from glyph_worker.job import JobStatus
from glyph_worker.options import SubmitOptions

MAX_IN_FLIGHT = 500
POLL_S = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchEnd:
    """What the whole target holds."""

    num_answered: int
    num_failed: int
    first_error: str
    """Of this run, with its line; '' for none."""


class Batch:
    """One run over a file."""

    def __init__(
        self,
        client: Client,
        source: Path,
        answers: AnswersFile,
        *,
        total: int,
        on_done: Callable[[int, int], None],
    ) -> None:
        self._client = client
        self._source = source
        self._answers = answers
        self._on_done = on_done
        self._in_flight: dict[str, tuple[Line, str]] = {}
        """Lines by job, with what names their content."""
        self._total = total
        self._first_error = ""

    def run(self) -> BatchEnd:
        todo = self._todo()
        line = next(todo, None)
        while line or self._in_flight:
            while line and len(self._in_flight) < MAX_IN_FLIGHT:
                if not self._ask(*line):
                    break  # as many as the queue takes; the rest follow as these end
                line = next(todo, None)
            if not self._collect():
                time.sleep(POLL_S)
        return BatchEnd(
            num_answered=self._answers.num_answered,
            num_failed=self._answers.num_failed,
            first_error=self._first_error,
        )

    def _todo(self) -> Iterator[tuple[Line, str | bytes, str]]:
        """Lines to ask, each with its document and what names its content."""
        for line in read_lines(self._source):
            if isinstance(line, BadLine):
                self._failed(line.number, line.id, line.error)
                continue
            try:
                document = line.read()
            except RequestError as exc:
                self._failed(line.number, line.id, exc)
                continue
            content = line.content(document)
            if self._answers.has(line.id, content):
                self._report()
            else:
                yield line, document, content

    def _ask(self, line: Line, document: str | bytes, content: str) -> bool:
        """Queue it; False when there is no room now."""
        key = digest("batch", str(self._answers.path.resolve()), line.id, content)
        try:
            while True:
                options = {"priority": "bulk", **line.options, "idempotency_key": key}
                job = self._client.submit(
                    document,
                    line.question,
                    **cast(SubmitOptions, options),  # whatever they are: checked there
                )
                if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
                    break
                key = digest("batch again", key, job.id)  # failed in an earlier run: ask again
            self._in_flight[job.id] = line, content
        except TransientError:
            raise
        except GlyphError as exc:
            if isinstance(exc, RefusedError) and not isinstance(exc, DeadlineTooShort):
                return False
            self._failed(line.number, line.id, exc)
        return True

    def _collect(self) -> int:
        """Write down what has ended. Returns how many."""
        ids = list(self._in_flight)
        ended = 0
        for job_id, job in zip(ids, self._client.status_many(ids), strict=True):
            if job is not None and not job.status.final:
                continue
            line, content = self._in_flight[job_id]
            try:
                answer = self._client.result(job_id)
                assert answer is not None
                fields = {"job_id": job_id, "content": content, **answer.to_fields()}
                self._answers.write(line.id, fields, ok=True)
                self._report()
            except TransientError:
                raise  # the store is away, the job is not: the next run finds it by its key
            except GlyphError as exc:
                self._failed(line.number, line.id, exc, job_id=job_id)
            del self._in_flight[job_id]
            ended += 1
        return ended

    def _failed(self, number: int, line_id: str | None, exc: GlyphError, **more: str) -> None:
        self._answers.write(line_id, {"line": number, **more, "error": exc.to_wire()}, ok=False)
        self._first_error = self._first_error or f"line {number}: {exc}"
        self._report()

    def _report(self) -> None:
        self._on_done(self._answers.num_answered + self._answers.num_failed, self._total)


def run_batch(
    client: Client, source: Path, target: Path, *, on_done: Callable[[int, int], None]
) -> BatchEnd:
    """Ask all of `source` that `target` has no answer to yet; append answers as they come.

    Send it again after any interruption, or when lines were mended: jobs that were queued are found
    again by their line's id and content, what failed is asked again, and a line whose content
    changed is a new job, whose answer takes the old one's place. A line that is no job has its
    error in the target, like a job that failed, and harms no other.

    Raises InvalidOption for files that cannot be read or written and for a target that is something
    else; StoreUnavailable when Redis stays away.
    """
    total = sum(1 for _ in read_lines(source))
    with AnswersFile.open(target, source=source) as answers:
        return Batch(client, source, answers, total=total, on_done=on_done).run()
