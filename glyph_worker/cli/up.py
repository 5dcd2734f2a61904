"""Everything on this machine: the demonstration, the service, the HTTP gateway."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from glyph_worker.cli.show import AsJson, err, out, print_json, read_document, say
from glyph_worker.errors import InvalidOption
from glyph_worker.settings import Settings


def demo(
    file: Annotated[
        Path | None, typer.Argument(help="Your own text, HTML or PDF; default: ours.")
    ] = None,
    ask: Annotated[
        list[str] | None,
        typer.Option("--ask", "-q", help="A question; default: what the file's fields suggest."),
    ] = None,
    as_json: AsJson = False,
    out_dir: Annotated[Path, typer.Option("--out", help="Where page PNGs go.")] = Path(
        "out/demo-pages"
    ),
) -> None:
    """Start everything on this machine, ask questions, show answers and reuse, end everything."""
    from glyph_worker.cli.extras import require

    require("answer")
    from glyph_worker.cli.proof import proof_parts
    from glyph_worker.local.demo import run_demo

    if file is None and ask:
        raise InvalidOption("a question needs a file: glyph-worker demo my.txt --ask …")
    settings = Settings.load()
    own = None if file is None else (read_document(file, settings), list(ask or []))
    report = run_demo(
        settings,
        own=own,
        out_dir=out_dir,
        console=None if as_json else out,
        proof_parts=proof_parts,
    )
    if as_json:
        print_json(report)


def up(
    render_workers: Annotated[int, typer.Option(min=0)] = 1,
    answer_workers: Annotated[int, typer.Option(min=0)] = 1,
    everything: Annotated[
        bool, typer.Option("--all", help="The page, the HTTP API, metrics and Flower as well.")
    ] = False,
) -> None:
    """Serve on this machine until Ctrl-C: embedded server (if none is set) and workers."""
    from glyph_worker.cli.extras import require

    if answer_workers:
        require("answer")  # `render` is a part of it
    elif render_workers:
        require("render")
    if everything:
        require("gateway")
        require("flower")
    from glyph_worker.local.service import LocalService
    from glyph_worker.local.side_services import SideServices

    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    service = LocalService(Settings.load(), num_render=render_workers, num_answer=answer_workers)
    with ExitStack() as opened:
        opened.enter_context(service)
        # What programs and people take from here is on stdout, what happens meanwhile on stderr.
        say(("broker ", "bold"), f" export GLYPH_BROKER_URL={service.broker_url}")
        doors = SideServices(service.settings, service.folder)
        opened.callback(doors.stop)
        if everything:
            for door in doors.start():
                note = f"  ({door.note})" if door.note else ""
                say((f"{door.name:7}", "bold"), f" {door.url}{note}")
        sys.stdout.flush()
        with err.status("workers are loading …"):
            living = service.wait_ready()
        for info in living:
            said = f"   {info.kind} worker, pid {info.pid}, {info.capacity} jobs"
            say(("ready", "green"), said, to=err)
        say(f"logs in {service.folder}; Ctrl-C ends all", to=err)
        while not stop.wait(0.5):
            for line in [*service.revive(), *doors.revive()]:
                say(("restart", "yellow"), f" {line}", to=err)
        say("draining …", to=err)


def gateway(
    host: Annotated[str | None, typer.Option(help="Default: GLYPH_GATEWAY_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="0: a free one.")] = None,
) -> None:
    """Serve HTTP: the API, the page, metrics. Needs the extra `gateway`."""
    from glyph_worker.cli.extras import require
    from glyph_worker.telemetry import configure_logging

    require("gateway")
    from glyph_worker.gateway.serve import serve

    settings = Settings.load()
    chosen = {"host": host, "port": port}
    section = settings.gateway.model_copy(
        update={name: value for name, value in chosen.items() if value is not None}
    )
    settings = settings.model_copy(update={"gateway": section})
    configure_logging(settings.log_level)
    serve(settings)
