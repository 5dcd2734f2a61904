"""What the commands share: reading files, and the one place where they print. All of it is data."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from glyph_worker.document import Document
from glyph_worker.errors import GlyphError
from glyph_worker.intake.reader import read_path, sheet_mode
from glyph_worker.job import Answer, Job
from glyph_worker.settings import Settings
from glyph_worker.terminal import Part, console, line

out = console()
err = console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
File = Annotated[
    Path,
    typer.Argument(
        help="A file with text, HTML, PDF or pictures of pages; `-` reads standard input."
    ),
]

PdfMode = Annotated[
    str, typer.Option(help="A PDF's pages, or pictures: text, image, or auto: by page.")
]
FilesOrNone = Annotated[
    list[Path] | None,
    typer.Argument(help="Files, all asked about together; none with --follows."),
]


def say(*parts: Part, to: Console = out) -> None:
    """Print one line, never wrapped: a terminal does that, and a pipe wants it whole."""
    to.print(line(*parts), soft_wrap=True)


def table(
    header: Sequence[str], rows: Iterable[Sequence[Part]], *, whole: Sequence[str] = ()
) -> Table:
    """Cells as `line` has them; `whole` names columns that are never cut."""
    made = Table(show_header=bool(header), box=Table().box if header else None)
    for name in header:
        made.add_column(name, no_wrap=name in whole, overflow="fold")
    for row in rows:
        made.add_row(*(line(cell) for cell in row))
    return made


Files = Annotated[
    list[Path],
    typer.Argument(
        help="Files with text, HTML, PDF or pictures of pages, all asked about together; `-` reads "
        "standard input."
    ),
]


def read_documents(files: Sequence[Path], settings: Settings, *, pdf: str = "auto") -> Document:
    """One file, or several as one document that knows their names."""
    if len(files) == 1:
        return read_document(files[0], settings, pdf=pdf)
    rows = [(str(file), read_path(file, settings, pdf=sheet_mode(pdf))) for file in files]
    document = Document.of(rows, max_bytes=settings.limits.max_document_bytes)
    for note in document.notes:
        print(f"note: {note}", file=sys.stderr)
    return document


def read_document(file: Path, settings: Settings, *, pdf: str = "auto") -> Document:
    """The file as a document; what of it is not read is told on standard error."""
    document = read_path(file, settings, pdf=sheet_mode(pdf))
    for note in document.notes:
        print(f"note: {note}", file=sys.stderr)
    return document


def print_json(value: Any, *, indent: int | None = None) -> None:
    # Never through rich: it would wrap lines. JSON escapes control characters itself.
    print(json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def print_error(exc: GlyphError, *, as_json: bool) -> None:
    """One line on stderr; with --json the one object that the command prints."""
    if as_json:
        print_json({"error": exc.to_wire()})
    else:
        say(f"error[{exc.code}]: {exc}", to=err)


def job_row(job: Job, answer: Answer | None = None) -> dict[str, Any]:
    """All that is known of a job; what is not known is null."""
    row = job.to_fields()
    return row if answer is None else row | {"answer": answer.to_fields()}


def print_fields(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(fields)
        return
    rows = [
        (name.replace("_", " "), json.dumps(value, ensure_ascii=False, default=str))
        for name, value in fields.items()
    ]
    out.print(table((), rows))


@contextlib.contextmanager
def counting(silent: bool) -> Iterator[Callable[[int], None]]:
    from rich.progress import Progress

    with Progress(console=err, transient=True, disable=silent) as bar:
        shown = bar.add_task("pages", total=None)
        yield lambda number: bar.update(shown, advance=number)
