"""`glyph-worker doctor`: what is installed, reachable and fitting."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer
from rich.table import Table

from glyph_worker.cli.show import AsJson, out, print_json
from glyph_worker.settings import Settings


def doctor(
    as_json: AsJson = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting.")] = False,
) -> None:
    """What is installed, reachable and fitting, with a fix for each fault. Exit 1 on a fault."""
    from glyph_worker.doctor import describe_settings, examine

    if settings:
        rows = describe_settings(Settings.load())
        if as_json:
            print_json({"settings": rows})
            return
        table = Table("variable", "value", "meaning")
        for row in rows:
            table.add_row(row["variable"], row["value"], row["meaning"])
        out.print(table)
        return
    findings = examine()
    if as_json:
        print_json({"findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "fault": "[red]fault[/]"}
        for finding in findings:
            fix = f"\n        → {finding.fix}" if finding.fix else ""
            out.print(
                f"{marks[finding.level]:>14}  {finding.what}: {finding.found}{fix}", highlight=False
            )
    if any(finding.level == "fault" for finding in findings):
        raise SystemExit(1)
