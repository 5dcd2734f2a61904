"""Runs the demo: starts the service, asks, tells what came back and what was reused, ends it."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import resources
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from glyph_worker.client import Client
from glyph_worker.document import Document
from glyph_worker.errors import JobError
from glyph_worker.job import Answer
from glyph_worker.local.proposed import proposed
from glyph_worker.local.service import LocalService
from glyph_worker.settings import Settings
from glyph_worker.terminal import Part, line

ANSWER_TIMEOUT_S = 300.0

PROOF = ("verified", "found", "confidence", "read_as")
"""Of an answer, what the report says of its proof."""

Round = tuple[str, bytes | Document, list[tuple[str, str | None]]]
"""A document's title, its bytes, and questions with the answers expected of them, if known."""


def run_demo(
    settings: Settings,
    *,
    own: tuple[Document, list[str]] | None,
    out_dir: Path,
    console: Console | None,
    proof_parts: Callable[[Answer], list[Part]],
) -> dict[str, Any]:
    """Ask `own` (document, questions; without any, those that its fields suggest), or our
    documents' questions, the first document twice. `proof_parts` says how an answer's proof reads.

    Returns answers (question, text, expected where known, correct, verified, found, confidence,
    read_as, proof), reuse (pages encoded, pages
    reused) and timings. `console` None prints nothing. Raises what the client and LocalService
    raise.
    """
    rounds = _rounds(own)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="glyph-demo-") as folder:
        service = LocalService(settings, folder=Path(folder))
        with service:
            with console.status("starting server and workers …") if console else nullcontext():
                service.wait_ready()
            ready_s = time.perf_counter() - began
            client = Client(service.settings)
            answers: list[dict[str, Any]] = []
            for title, document, questions in rounds:
                with console.status(f"asking about {title} …") if console else nullcontext():
                    rows = _ask(client, title, document, questions, proof_parts)
                answers += rows
                if console:
                    console.print(_table(title, rows))
    report = {
        "answers": answers,
        "reuse": {
            "pages_encoded": sum(row["receipt"].get("pages_encoded", 0) for row in answers),
            "pages_reused": sum(row["receipt"].get("pages_reused", 0) for row in answers),
        },
        "timings": {
            "ready_s": round(ready_s, 2),
            "answers_s": round(time.perf_counter() - began - ready_s, 2),
        },
        "pages": _draw_pages(settings, rounds, out_dir),
    }
    if console:
        _summarize(report, console)
    return report


def _rounds(own: tuple[Document, list[str]] | None) -> list[Round]:
    if own is not None:
        mine, asked_of_it = own[0], own[1] or proposed(own[0].text)
        return [("your document", mine, [(question, None) for question in asked_of_it])]
    folder = resources.files("glyph_worker.local").joinpath("documents")
    known = json.loads(folder.joinpath("questions.json").read_text())
    rounds: list[Round] = []
    for title in ("invoice", "operations", "invoice"):
        again = " again" if any(title == seen for seen, _, _ in rounds) else ""
        document = folder.joinpath(f"{title}.txt").read_bytes()
        asked = [(entry["question"], entry["expected"]) for entry in known[title]]
        rounds.append((title + again, document, asked))
    return rounds


def _ask(
    client: Client,
    title: str,
    document: bytes | Document,
    questions: list[tuple[str, str | None]],
    proof_parts: Callable[[Answer], list[Part]],
) -> list[dict[str, Any]]:
    jobs = client.submit_many(document, [question for question, _ in questions])
    rows = []
    for job, (question, expected) in zip(jobs, questions, strict=True):
        row: dict[str, Any] = {"document": title, "question": question, "job_id": job.id}
        try:
            answer = client.wait(job.id, timeout=ANSWER_TIMEOUT_S)
            row |= {"text": answer.text, "receipt": answer.to_fields()["receipt"]}
            row |= {name: getattr(answer, name) for name in PROOF}
            row["proof"] = line(*proof_parts(answer)).plain
        except JobError as exc:
            row |= {"text": None, "error": exc.to_wire(), "receipt": {}}
        row["expected"] = expected
        row["correct"] = None if expected is None else row["text"] == expected
        rows.append(row)
    return rows


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    # Two lines a row where they must, in eighty columns.
    table = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("question", ratio=2)
    table.add_column("answer", ratio=2)
    for name in ("pages", "ratio", "ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        receipt = row["receipt"]
        failed = row["text"] is None
        table.add_row(
            line(row["question"]),
            line(
                ("✓ " if row["correct"] else "", "green"),
                (row["error"]["message"], "red") if failed else row["text"],
                (f"\nexpected: {row['expected']}" if row["correct"] is False else "", "red"),
                (f"\n{row['proof']}" if row.get("proof") else "", "dim"),
            ),
            f"{receipt.get('pages_encoded', '-')}/{receipt.get('pages_reused', '-')}",
            f"{receipt.get('compression_ratio', 0):.1f}×",
            f"{receipt.get('queue_ms', 0):.0f}/{receipt.get('total_ms', 0):.0f}",
        )
    return table


def _draw_pages(settings: Settings, rounds: list[Round], out_dir: Path) -> list[str]:
    from glyph_worker.render.choose import resolve_style, shape_of
    from glyph_worker.render.out.preview import render_file

    style, shape = resolve_style(settings, "auto"), shape_of(settings)
    folders = []
    for title, source, _ in rounds:
        if title.endswith(" again"):
            continue
        document = Document.of(source, max_bytes=settings.limits.max_document_bytes)
        folder = out_dir / title.replace(" ", "-")
        render_file(document, style, shape, folder)
        folders.append(str(folder))
    return folders


def _summarize(report: dict[str, Any], console: Console) -> None:
    console.print("✓ stands in the document, ≈ alike, ✗ not there: none of them says it is right")
    asked = [row for row in report["answers"] if row["expected"] is not None]
    if asked:
        right = sum(row["correct"] for row in asked)
        console.print(line(f"{right} of {len(asked)} answers are the expected ones"))
    reuse, timings = report["reuse"], report["timings"]
    said = (
        f"pages encoded {reuse['pages_encoded']}, reused {reuse['pages_reused']}; "
        f"ready after {timings['ready_s']} s, all answers after {timings['answers_s']} s more"
    )
    console.print(line(said))
    console.print("pages: encoded/reused; ratio: text tokens per visual token; ms: waited/all")
    for folder in report["pages"]:
        console.print(line(f"the pages the model read: {folder}/"), soft_wrap=True)
