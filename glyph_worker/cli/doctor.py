"""`glyph-worker doctor`: what is installed, reachable and fitting."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from glyph_worker.cli.show import AsJson, out, print_json, say, table
from glyph_worker.settings import Settings


def doctor(
    model_folder: Annotated[
        str | None, typer.Argument(help="A checkpoint folder to examine alone, or `nano`.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, help="Sequences at once (MODEL_FOLDER).")] = 16,
    pages: Annotated[int, typer.Option(min=1, help="Pages of each (MODEL_FOLDER).")] = 10,
    as_json: AsJson = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting.")] = False,
) -> None:
    """What is installed, reachable and fitting, with a fix for each fault. Exit 1 on a fault.

    With MODEL_FOLDER: its family, sizes, number format, style, tokens a page and memory.
    """
    from glyph_worker.doctor import describe_settings, examine

    if settings:
        rows = describe_settings(Settings.load())
        if as_json:
            print_json({"settings": rows})
            return
        header = ("variable", "value", "meaning")
        cells = [tuple(str(row[name]) for name in header) for row in rows]
        out.print(table(header, cells, whole=("variable",)))
        return
    if model_folder is None:
        findings = examine()
    else:
        from glyph_worker.cli.model_report import examine_model

        findings = examine_model(model_folder, Settings.load(), slots=slots, pages=pages)
    if as_json:
        print_json({"findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        styles = {"ok": "green", "note": "yellow", "fault": "red"}
        for finding in findings:
            say(
                (f"{finding.level:>5}", styles[finding.level]),
                f"  {finding.what}: {finding.found}",
                f"\n       → {finding.fix}" if finding.fix else "",
            )
    if any(finding.level == "fault" for finding in findings):
        raise SystemExit(1)
