"""Ten thousand questions from a file to a file: JSON lines in, JSON lines out, resumable."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from glyph_worker.client import Client
from glyph_worker.document import Document
from glyph_worker.errors import (
    DeadlineTooShort,
    GlyphError,
    InvalidOption,
    RefusedError,
    TransientError,
)
from glyph_worker.intake.reader import read_path
from glyph_worker.settings import Settings

MAX_IN_FLIGHT = 500
POLL_S = 0.25
TERMS = ("deadline_s", "ttl_s", "priority")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input: `{"id", "document" or "file", "question", …options}`."""

    id: str
    document: str | Path
    """Its text, or the file that holds it."""
    question: str
    options: dict[str, Any]


def read_lines(path: Path) -> Iterator[Line]:
    """Raises InvalidOption, naming the line. A `file` is relative to the input's folder."""
    seen: set[str] = set()
    try:
        rows = path.open(encoding="utf-8")
    except OSError as exc:
        raise InvalidOption(f"{path} cannot be read: {exc.strerror}") from exc
    with rows:
        for number, row in enumerate(rows, start=1):
            if not row.strip():
                continue
            try:
                fields = json.loads(row)
                name = str(fields.pop("id", number))
                question = fields.pop("question")
                document = (
                    path.parent / fields.pop("file") if "file" in fields else fields.pop("document")
                )
            except (ValueError, KeyError, AttributeError, TypeError) as exc:
                raise InvalidOption(
                    f"line {number} of {path} is no job: {type(exc).__name__} {exc}; "
                    'needed are "question" and "document" or "file"',
                    line=number,
                ) from exc
            if isinstance(document, Path) and not document.is_file():
                raise InvalidOption(f"line {number} of {path}: there is no {document}", line=number)
            if name in seen:
                raise InvalidOption(f"line {number} of {path} repeats the id {name!r}", line=number)
            seen.add(name)
            yield Line(name, document, question, fields)


def run_batch(
    client: Client, source: Path, target: Path, *, on_done: Callable[[int, int], None]
) -> tuple[int, int]:
    """Ask all of `source` that `target` does not hold yet; append answers as they come.

    Send it again after any interruption: jobs that were queued are found by their idempotency key
    (the target's path and the line's id), not queued twice. Returns (succeeded, failed) of the
    whole target. Raises InvalidOption for a bad line, StoreUnavailable when Redis stays away.
    """
    answered = _answered(target)
    # Every line is checked before the first is sent; the second reading holds one at a time.
    total = len(answered) + sum(line.id not in answered for line in read_lines(source))
    todo = (line for line in read_lines(source) if line.id not in answered)
    line = next(todo, None)
    counts = [sum(answered.values()), len(answered) - sum(answered.values())]
    in_flight: dict[str, str] = {}
    # Many lines may ask about one file, which takes a PDF's time once.
    read = lru_cache(maxsize=16)(partial(_document, settings=client.settings))
    with target.open("a", encoding="utf-8") as out:

        def write(line_id: str, fields: dict[str, Any], ok: bool) -> None:
            out.write(json.dumps({"id": line_id, **fields}, ensure_ascii=False) + "\n")
            out.flush()
            counts[0 if ok else 1] += 1
            on_done(sum(counts), total)

        while line or in_flight:
            while line and len(in_flight) < MAX_IN_FLIGHT:
                try:
                    in_flight[_submit(client, line, target, read)] = line.id
                except TransientError:
                    raise
                except GlyphError as exc:
                    if isinstance(exc, RefusedError) and not isinstance(exc, DeadlineTooShort):
                        break  # as many as the queue takes; the rest follow as these end
                    write(line.id, {"error": exc.to_wire()}, ok=False)
                line = next(todo, None)
            ended = _collect(client, in_flight, write)
            if not ended:
                time.sleep(POLL_S)
    return counts[0], counts[1]


def _document(path: Path, changed_ns: int, *, settings: Settings) -> Document:
    """`changed_ns`: the file's time of change, so that the next line sees a new one."""
    return read_path(path, settings)


def _submit(client: Client, line: Line, target: Path, read: Callable[[Path, int], Document]) -> str:
    terms = {name: line.options[name] for name in TERMS if name in line.options}
    options = {name: value for name, value in line.options.items() if name not in TERMS}
    key = f"batch:{target.resolve()}:{line.id}"
    terms = {"priority": "bulk", **terms}
    document: str | Document
    if isinstance(line.document, Path):
        document = read(line.document, line.document.stat().st_mtime_ns)
    else:
        document = line.document
    return client.submit(document, line.question, idempotency_key=key, **terms, **options).id


def _collect(
    client: Client, in_flight: dict[str, str], write: Callable[[str, dict[str, Any], bool], None]
) -> int:
    ids = list(in_flight)
    ended = 0
    for job_id, job in zip(ids, client.status_many(ids), strict=True):
        if job is not None and not job.status.final:
            continue
        ended += 1
        line_id = in_flight.pop(job_id)
        try:
            answer = client.result(job_id)
            assert answer is not None
            write(line_id, {"job_id": job_id, **answer.to_fields()}, True)
        except GlyphError as exc:
            write(line_id, {"job_id": job_id, "error": exc.to_wire()}, False)
    return ended


def _answered(target: Path) -> dict[str, bool]:
    """Ids in the target and whether each succeeded. A last line cut off by a crash is dropped."""
    if not target.exists():
        return {}
    found: dict[str, bool] = {}
    kept = 0
    with target.open("rb") as rows:
        for row in rows:
            try:
                fields = json.loads(row) if row.endswith(b"\n") else None
            except ValueError:
                fields = None
            if fields is None:
                break
            found[fields["id"]] = "error" not in fields
            kept += len(row)
    if kept < target.stat().st_size:
        with target.open("r+b") as file:
            file.truncate(kept)
    return found
