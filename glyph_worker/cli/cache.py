"""`glyph-worker cache`: look after the page-feature cache."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from glyph_worker.cli.show import AsJson, File, PdfMode, counting, print_fields, read_document
from glyph_worker.settings import Settings

app = typer.Typer(help="Look after the page-feature cache.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option(help="Whose pages: tenants share none.")]


@app.command("stats")
def cache_stats(as_json: AsJson = False) -> None:
    """What the cache server holds, and what the live workers say of it."""
    from glyph_worker.worker.cache_upkeep import stats

    print_fields(dataclasses.asdict(stats(Settings.load())), as_json)


@app.command("audit")
def cache_audit(
    file: Annotated[Path | None, typer.Argument(help="Compare this document's pages.")] = None,
    pdf: PdfMode = "auto",
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Check every stored value, or a document's pages against fresh ones. Exit 1 on a fault."""
    from glyph_worker.worker.cache_upkeep import audit

    settings = Settings.load()
    document = None if file is None else read_document(file, settings, pdf=pdf)
    with counting(as_json) as tell:
        report = audit(settings, document, tenant=tenant, tell=tell)
    print_fields(dataclasses.asdict(report), as_json)
    if not report.clean:
        raise SystemExit(1)


@app.command("clear")
def cache_clear(as_json: AsJson = False) -> None:
    """Forget all features, pages and layouts. Answers stay right; the next ones take longer."""
    from glyph_worker.worker.cache_upkeep import clear

    print_fields({"num_deleted": clear(Settings.load())}, as_json)


@app.command("warm")
def cache_warm(
    file: File, pdf: PdfMode = "auto", tenant: Tenant = "default", as_json: AsJson = False
) -> None:
    """Draw and encode a document's pages before the first question comes."""
    from glyph_worker.worker.cache_upkeep import warm

    settings = Settings.load()
    with counting(as_json) as tell:
        report = warm(settings, read_document(file, settings, pdf=pdf), tenant=tenant, tell=tell)
    print_fields(dataclasses.asdict(report), as_json)
