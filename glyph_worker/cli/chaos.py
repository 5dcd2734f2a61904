"""`glyph-worker chaos`: break things under load, and prove that no job was harmed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from glyph_worker.cli.show import AsJson, err, out, print_json, say


def chaos(
    broker_url: Annotated[
        str | None, typer.Option(help="Your deployment's broker; default: servers of our own.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1)] = 120,
    kills: Annotated[int, typer.Option(min=0)] = 6,
    pauses: Annotated[int, typer.Option(min=0)] = 2,
    restarts: Annotated[int, typer.Option(min=0, help="Of broker and cache, each; own only.")] = 1,
    poison: Annotated[int, typer.Option(min=0)] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same plan.")] = 1,
    render_workers: Annotated[int, typer.Option(min=1)] = 2,
    answer_workers: Annotated[int, typer.Option(min=1)] = 2,
    patience: Annotated[float, typer.Option(help="Seconds for the last jobs to end.")] = 120.0,
    tiny: Annotated[bool, typer.Option(help="A tiny random model: fast, answers nonsense.")] = True,
    logs: Annotated[Path | None, typer.Option(help="Keep the workers' logs there.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the JSON report there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Kill, pause and restart under load, then prove from the history that no job was harmed.

    Starts workers of its own and hits only those. Exit 1 when a promise was broken.
    """
    from glyph_worker.chaos.command import chaos_command

    found = chaos_command(
        broker_url, jobs=jobs, kills=kills, pauses=pauses, restarts=restarts, poison=poison,
        seed=seed, render_workers=render_workers, answer_workers=answer_workers,
        patience_s=patience, tiny=tiny, logs=logs, say=lambda text: say(text, to=err),
    )  # fmt: skip
    if report is not None:
        report.write_text(json.dumps(found, indent=1) + "\n")
    if as_json:
        print_json(found)
    else:
        from glyph_worker.chaos.report import table

        out.print(table(found))
    if not all(bar["met"] for bar in found["bars"].values()):
        raise SystemExit(1)
