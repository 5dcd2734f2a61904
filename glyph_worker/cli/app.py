"""All commands put together. Heavy imports stay inside them, so that `--help` is quick."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from glyph_worker.cli import cache, jobs, worker
from glyph_worker.cli.ask import batch, cancel, result, status, submit, summarize
from glyph_worker.cli.doctor import doctor
from glyph_worker.cli.plan import plan
from glyph_worker.cli.render import render
from glyph_worker.cli.show import print_error, say
from glyph_worker.cli.up import demo, gateway, up
from glyph_worker.errors import GlyphError, InvalidOption

UsageError: Any = typer.BadParameter.__bases__[0]  # typer brings its own click, and names only this

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
    demo, up, gateway, submit, summarize, status, result, cancel, render, batch, plan, doctor,
):  # fmt: skip
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from glyph_worker import __version__

        say(f"glyph-worker {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Entry point: errors of the tree become one line on stderr and their exit code.

    With --json they become the one JSON object that the command prints.
    """
    as_json = "--json" in sys.argv[1:]
    try:
        # Typer's own way prints a wrong command line as a box, which no program reads.
        code = app(standalone_mode=not as_json)
        raise SystemExit(code if isinstance(code, int) else 0)
    except GlyphError as exc:
        print_error(exc, as_json=as_json)
        raise SystemExit(exc.exit_code) from None
    except UsageError as exc:
        print_error(InvalidOption(exc.format_message()), as_json=True)
        raise SystemExit(exc.exit_code) from None
    except ModuleNotFoundError as exc:
        from glyph_worker.cli.extras import explained

        if (found := explained(exc)) is None:
            raise
        print(f"error[{found.code}]: {found}", file=sys.stderr)
        raise SystemExit(found.exit_code) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
