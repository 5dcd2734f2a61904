"""All commands put together. Heavy imports stay inside them, so that `--help` is quick."""

from __future__ import annotations

import sys

import typer

from glyph_worker.cli import cache, jobs, worker
from glyph_worker.cli.ask import batch, cancel, result, status, submit
from glyph_worker.cli.doctor import doctor
from glyph_worker.cli.plan import plan
from glyph_worker.cli.render import render
from glyph_worker.cli.up import demo, gateway, up
from glyph_worker.errors import GlyphError

app = typer.Typer(
    name="glyph-worker",
    help="Asynchronous question answering over long documents, read from rendered pages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(worker.app, name="worker")
app.add_typer(cache.app, name="cache")
app.add_typer(jobs.app, name="jobs")
for command in (
    demo, up, gateway, submit, status, result, cancel, render, batch, plan, doctor,
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """Entry point: errors of the tree become one line on stderr and their exit code."""
    try:
        app()
    except GlyphError as exc:
        print(f"error[{exc.code}]: {exc}", file=sys.stderr)
        raise SystemExit(exc.exit_code) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
