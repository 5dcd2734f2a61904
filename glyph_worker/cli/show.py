"""What the commands share: reading files, printing rows, tables and JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from glyph_worker.document import Document
from glyph_worker.intake.reader import read_path
from glyph_worker.job import Answer, Job
from glyph_worker.settings import Settings

out = Console()
err = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
File = Annotated[
    Path, typer.Argument(help="A file with text, HTML or PDF; `-` reads standard input.")
]


def read_document(file: Path, settings: Settings) -> Document:
    """The file as a document; what of it is not read is told on standard error."""
    document = read_path(file, settings)
    for note in document.notes:
        print(f"note: {note}", file=sys.stderr)
    return document


def print_json(value: Any) -> None:
    # Never through rich: it would wrap lines.
    print(json.dumps(value, ensure_ascii=False, default=str))


def job_row(job: Job, answer: Answer | None = None) -> dict[str, Any]:
    row = {k: v for k, v in job.to_fields().items() if v is not None}
    return row if answer is None else row | {"answer": answer.to_fields()}


def print_fields(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    table = Table(show_header=False, box=None)
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), json.dumps(value, default=str))
    out.print(table)


@contextlib.contextmanager
def counting(silent: bool) -> Iterator[Callable[[int], None]]:
    from rich.progress import Progress

    with Progress(console=err, transient=True, disable=silent) as bar:
        shown = bar.add_task("pages", total=None)
        yield lambda number: bar.update(shown, advance=number)
