"""`glyph-worker render`: a document's pages as pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from glyph_worker.cli.show import AsJson, File, PdfMode, out, print_json, read_document, table
from glyph_worker.errors import InvalidOption
from glyph_worker.settings import Settings


def render(
    file: File,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the PNG pages.")],
    style: Annotated[str, typer.Option(help="A preset, or the path of a style JSON.")] = "auto",
    pdf: PdfMode = "auto",
    show_map: Annotated[bool, typer.Option(help="Draw the character map over the page.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw a document's pages as PNGs to look at."""
    from glyph_worker.cli.extras import require

    require("render")
    from glyph_worker.render.choose import resolve_style, shape_of
    from glyph_worker.render.out.preview import render_file
    from glyph_worker.render.style.presets import named_style

    settings = Settings.load()
    document = read_document(file, settings, pdf=pdf)
    chosen = resolve_style(settings, "auto") if style == "auto" else named_style(style)
    try:
        summary = render_file(document, chosen, shape_of(settings), out_dir, show_map=show_map)
    except OSError as exc:
        raise InvalidOption(f"--out {out_dir} cannot be written: {exc.strerror}") from exc
    fields = dataclasses.asdict(summary)
    if as_json:
        print_json(fields)
        return
    rows = []
    for name, value in fields.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
        if not isinstance(value, (list, tuple)):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            rows.append((name.replace("_", " "), text))
    out.print(table((), rows))
