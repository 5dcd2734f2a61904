"""The options of `ops/chaos/run`."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from bench.machine import commit

from chaos.plan import EXTRA, Amounts, FaultKind
from chaos.report import table
from chaos.session import run_chaos, tiny_checkpoint
from glyph_worker.cli.show import AsJson, err, out, print_json
from glyph_worker.errors import GlyphError, InvalidOption
from glyph_worker.settings import Settings


def chaos(
    broker_url: Annotated[
        str | None, typer.Option(help="Your deployment's broker; default: servers of our own.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1)] = 120,
    kills: Annotated[int, typer.Option(min=0)] = 6,
    pauses: Annotated[int, typer.Option(min=0)] = 2,
    restarts: Annotated[int, typer.Option(min=0, help="Of broker and cache, each; own only.")] = 1,
    poison: Annotated[int, typer.Option(min=0)] = 1,
    each: Annotated[
        int, typer.Option(min=0, help=f"Of each of {', '.join(EXTRA)}; own servers only.")
    ] = 1,
    without: Annotated[str, typer.Option(help="Of these none: name,name")] = "",
    before: Annotated[
        str, typer.Option(help="Begin with this commit's workers and replace them one by one.")
    ] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same plan.")] = 1,
    render_workers: Annotated[int, typer.Option(min=1)] = 2,
    answer_workers: Annotated[int, typer.Option(min=1)] = 2,
    patience: Annotated[float, typer.Option(help="Seconds for the last jobs to end.")] = 120.0,
    tiny: Annotated[bool, typer.Option(help="A tiny random model: fast, answers nonsense.")] = True,
    logs: Annotated[Path | None, typer.Option(help="Keep the workers' logs there.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the JSON report there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Kill, pause, starve and cut off under load, then prove that no job was harmed.

    Starts workers of its own and hits only those. GLYPH_BROKER_URL alone is not enough: a
    deployment must be named to be hit. Exit 1 when a promise was broken.
    """
    amounts = Amounts(
        num_jobs=jobs,
        num_kills=kills,
        num_pauses=pauses,
        num_broker_restarts=restarts,
        num_cache_restarts=restarts,
        num_slow_links=max(1, kills // 10),
        num_drains=max(1, kills // 10),
        num_poison=poison,
        num_oversized=max(1, jobs // 100),
        extra=_extra(each, without) if broker_url is None else (),
    )
    with tempfile.TemporaryDirectory(prefix="glyph-chaos-") as scratch:
        changes: dict[str, Any] = {"broker_url": broker_url}
        if tiny:
            changes |= {"model": str(tiny_checkpoint(Path(scratch))), "device": "cpu"}
        found = run_chaos(
            Settings.load(**changes),
            amounts,
            seed=seed,
            num_render=render_workers,
            num_answer=answer_workers,
            patience_s=patience,
            folder=logs,
            commit=commit(),
            before=before,
            say=err.print,
        )
    if report is not None:
        report.write_text(json.dumps(found, indent=1) + "\n")
    if as_json:
        print_json(found)
    else:
        out.print(table(found))
    if not all(bar["met"] for bar in found["bars"].values()):
        raise SystemExit(1)


def _extra(each: int, without: str) -> tuple[FaultKind, ...]:
    names = {name.strip() for name in without.split(",") if name.strip()}
    if unknown := names - set(EXTRA):
        raise InvalidOption(f"no such fault: {', '.join(sorted(unknown))}; {', '.join(EXTRA)}")
    return tuple(kind for kind in EXTRA if kind not in names) * each


def main() -> None:
    # So that what was started is stopped, and what was set up (links, disks) taken down again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(chaos)
    try:
        app()
    except GlyphError as exc:
        print(f"error[{exc.code}]: {exc}", file=sys.stderr)
        raise SystemExit(exc.exit_code) from None
