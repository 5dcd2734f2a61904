"""`glyph-worker worker`: serve one queue, and say whether somebody does."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from glyph_worker.errors import ConfigurationError
from glyph_worker.settings import Settings

app = typer.Typer(help="Serve one queue.", no_args_is_help=True)

Concurrency = Annotated[int, typer.Option(min=0, help="0: chosen for this machine.")]


def _serve(kind: Any, concurrency: int) -> None:
    from glyph_worker.cli.extras import require

    require(kind)
    from glyph_worker.telemetry import configure_logging
    from glyph_worker.worker.lifecycle import run_worker

    settings = Settings.load()
    configure_logging(settings.log_level)
    raise SystemExit(run_worker(settings, kind, concurrency=concurrency))


@app.command("render")
def worker_render(concurrency: Concurrency = 0) -> None:
    """Lay out and draw pages: one process per core."""
    _serve("render", concurrency)


@app.command("answer")
def worker_answer(concurrency: Concurrency = 0) -> None:
    """Answer questions: one process per GPU, or one on the CPU."""
    _serve("answer", concurrency)


Kind = Annotated[str | None, typer.Argument(help="render or answer; default: any.")]


@app.command("alive")
def worker_alive(kind: Kind = None) -> None:
    """Liveness: exit 0 when a worker of this machine beats, 78 when none does. Never asks Redis."""
    from glyph_worker.worker.heartbeat import STALE_S, default_folder, living

    folder = Settings.load().heartbeat_dir or default_folder()
    found = living(folder, kind)
    if not found:
        raise ConfigurationError(
            f"no {kind or ''} worker has beaten in {folder} for {STALE_S:.0f} s; start one, "
            "or set GLYPH_HEARTBEAT_DIR as it has it"
        )
    print("\n".join(found))


@app.command("ready")
def worker_ready(kind: Kind = None) -> None:
    """Readiness: exit 0 when Redis hears a worker of this host that takes jobs, else not 0."""
    import socket

    from glyph_worker.store.connection import connect
    from glyph_worker.store.keys import Keys
    from glyph_worker.store.workers import WorkerStore

    settings = Settings.load()
    if settings.broker_url is None:
        raise ConfigurationError("no broker: set GLYPH_BROKER_URL")
    url = settings.broker_url.get_secret_value()
    with connect(url, timeout_s=3, num_retries=0) as client:
        living = WorkerStore(client, Keys(settings.key_prefix)).living()
    here = [info for info in living if info.name.partition(":")[0] == socket.gethostname()]
    mine = [info for info in here if kind in (None, info.kind) and not info.draining]
    for info in mine:
        print(f"{info.kind} {info.pid}: {info.num_running} of {info.capacity}")
    if not mine:
        raise ConfigurationError(f"no {kind or ''} worker of {socket.gethostname()} takes jobs")
