"""The `glyph-worker` command: a thin shell over all of it. Heavy imports stay inside commands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from glyph_worker.client import Client
from glyph_worker.document import Document
from glyph_worker.errors import ConfigurationError, GlyphError, InvalidOption, JobError
from glyph_worker.job import Answer, Job, JobStatus
from glyph_worker.settings import Settings

app = typer.Typer(
    name="glyph-worker",
    help="Asynchronous question answering over long documents, read from rendered pages.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
worker_app = typer.Typer(help="Serve one queue.", no_args_is_help=True)
app.add_typer(worker_app, name="worker")
cache_app = typer.Typer(help="Look after the page-feature cache.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
jobs_app = typer.Typer(help="Look at jobs, and do them again.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")

out = Console()
err = Console(stderr=True)

Tenant = Annotated[str, typer.Option(help="Whose pages: tenants share none.")]
Limit = Annotated[int, typer.Option(min=1, help="How many.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
File = Annotated[Path, typer.Argument(help="A UTF-8 text file; `-` reads standard input.")]


def _read(file: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as exc:
        raise InvalidOption(f"{file} cannot be read: {exc.strerror or exc}") from exc


def _print_json(value: Any) -> None:
    # Never through rich: it would wrap lines.
    print(json.dumps(value, ensure_ascii=False, default=str))


def _row(job: Job, answer: Answer | None = None) -> dict[str, Any]:
    row = {k: v for k, v in job.to_fields().items() if v is not None}
    return row if answer is None else row | {"answer": answer.to_fields()}


@app.command()
def demo(
    file: Annotated[Path | None, typer.Argument(help="Your own text; default: ours.")] = None,
    ask: Annotated[list[str] | None, typer.Option("--ask", "-q", help="A question.")] = None,
    as_json: AsJson = False,
    out_dir: Annotated[Path, typer.Option("--out", help="Where page PNGs go.")] = Path(
        "out/demo-pages"
    ),
) -> None:
    """Start everything on this machine, ask questions, show answers and reuse, end everything."""
    from glyph_worker.demo.run import run_demo

    own = None if file is None else (_read(file), list(ask or []))
    if file is not None and not ask:
        raise InvalidOption("a file needs a question: --ask 'What is …?'")
    if file is None and ask:
        raise InvalidOption("a question needs a file: glyph-worker demo my.txt --ask …")
    report = run_demo(Settings.load(), own=own, out_dir=out_dir, console=None if as_json else out)
    if as_json:
        _print_json(report)


@app.command()
def up(
    render_workers: Annotated[int, typer.Option(min=0)] = 1,
    answer_workers: Annotated[int, typer.Option(min=0)] = 1,
    everything: Annotated[
        bool, typer.Option("--all", help="The page, the HTTP API, metrics and Flower as well.")
    ] = False,
) -> None:
    """Serve on this machine until Ctrl-C: embedded server (if none is set) and workers."""
    from glyph_worker.doors import Doors
    from glyph_worker.local import LocalService

    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    service = LocalService(Settings.load(), num_render=render_workers, num_answer=answer_workers)
    with ExitStack() as opened:
        opened.enter_context(service)
        err.print(f"[bold]broker[/]  export GLYPH_BROKER_URL={service.broker_url}", soft_wrap=True)
        if everything:
            doors = Doors(service.settings, service.folder)
            opened.callback(doors.stop)
            for door in doors.start():
                note = f"  ({door.note})" if door.note else ""
                line = f"[bold]{door.name:7}[/] {door.url}{note}"
                err.print(line, highlight=False, soft_wrap=True)
        with err.status("workers are loading …"):
            living = service.wait_ready()
        for info in living:
            err.print(f"[green]ready[/]   {info.kind} worker, pid {info.pid}, {info.capacity} jobs")
        err.print(f"logs in {service.folder}; Ctrl-C ends all")
        while not stop.wait(0.5):
            for line in service.revive():
                err.print(f"[yellow]restart[/] {line}")
        err.print("draining …")


@app.command()
def gateway(
    host: Annotated[str | None, typer.Option(help="Default: GLYPH_GATEWAY_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="0: a free one.")] = None,
    exit_with_parent: Annotated[
        bool, typer.Option("--exit-with-parent", help="Stop when standard input ends.")
    ] = False,
) -> None:
    """Serve HTTP: the API, the page, metrics. Needs pip install 'glyph_worker[gateway]'."""
    from glyph_worker.telemetry import configure_logging

    settings = Settings.load()
    chosen = {"host": host, "port": port}
    section = settings.gateway.model_copy(
        update={name: value for name, value in chosen.items() if value is not None}
    )
    settings = settings.model_copy(update={"gateway": section})
    configure_logging(settings.log_level)
    try:
        from glyph_worker.gateway.serve import serve
    except ImportError as exc:
        raise ConfigurationError(
            f"the gateway cannot start: {exc}; pip install 'glyph_worker[gateway]'"
        ) from exc
    serve(settings, exit_with_parent=exit_with_parent)


@app.command()
def submit(
    file: File,
    question: Annotated[list[str], typer.Option("--question", "-q", help="May be repeated.")],
    max_new_tokens: Annotated[int, typer.Option()] = 64,
    temperature: Annotated[float, typer.Option()] = 0.0,
    style: Annotated[str, typer.Option(help="A preset's name.")] = "auto",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answers.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait.")] = None,
    as_json: AsJson = False,
) -> None:
    """Queue questions on a document; print the jobs' ids, or with --wait the answers."""
    client = Client.from_env()
    jobs = client.submit_many(
        _read(file), question, max_new_tokens=max_new_tokens, temperature=temperature, style=style
    )
    if not wait:
        if as_json:
            _print_json({"jobs": [_row(job) for job in jobs]})
        else:
            for job in jobs:
                print(job.id)
        return
    if not as_json:
        _show_progress(client, jobs, timeout)
    rows, failure = [], None
    for job, asked in zip(jobs, question, strict=True):
        try:
            answer = client.wait(job.id, timeout=timeout)
        except JobError as exc:
            failure = failure or exc
            rows.append(_row(client.status(job.id)) | {"question": asked})
            if not as_json:
                out.print(f"[bold]{asked}[/]\n  [red]{exc.code}[/] {exc}", highlight=False)
            continue
        rows.append(_row(client.status(job.id), answer) | {"question": asked})
        if not as_json:
            out.print(f"[bold]{asked}[/]\n  {answer.text}", highlight=False)
    if as_json:
        _print_json({"jobs": rows})
    if failure is not None:
        raise failure


def _show_progress(client: Client, jobs: list[Job], timeout: float | None) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    waiting = {job.id for job in jobs}
    done = threading.Event()
    pause_s, waited_s = 0.1, 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        shown = bar.add_task("answers", total=len(jobs))
        while waiting and (timeout is None or waited_s < timeout):
            for job in client.status_many(sorted(waiting)):
                if job is not None and job.status.final:
                    waiting.discard(job.id)
            bar.update(shown, completed=len(jobs) - len(waiting))
            if waiting:
                done.wait(pause_s)
                waited_s += pause_s


@app.command()
def status(job_id: str, as_json: AsJson = False) -> None:
    """What is true of a job now."""
    job = Client.from_env().status(job_id)
    if as_json:
        _print_json(_row(job))
        return
    stage = f", {job.stage}" if job.stage else ""
    progress = job.progress
    print(f"{job.status}{stage}; attempt {job.attempt}; pages {progress.num_pages_ready}/"
          f"{progress.num_pages}; answer tokens {progress.num_answer_tokens}")  # fmt: skip
    if job.error:
        print(f"{job.error['code']}: {job.error['message']}")


@app.command()
def result(
    job_id: str,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for it.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait.")] = None,
    as_json: AsJson = False,
) -> None:
    """The answer of a job; exit code 7 while there is none."""
    client = Client.from_env()
    answer = client.wait(job_id, timeout=timeout if wait else 0)
    if as_json:
        _print_json(_row(client.status(job_id), answer))
    else:
        print(answer.text)


@app.command()
def cancel(job_id: str, as_json: AsJson = False) -> None:
    """Take a job back."""
    job = Client.from_env().cancel(job_id)
    if as_json:
        _print_json(_row(job))
    else:
        done = job.status is JobStatus.CANCELLED
        print("cancelled" if done else "cancel requested; it ends within a step")


@app.command()
def render(
    file: File,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the PNG pages.")],
    style: Annotated[str, typer.Option(help="A preset, or the path of a style JSON.")] = "auto",
    show_map: Annotated[bool, typer.Option(help="Draw the character map over the page.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draw a document's pages as PNGs to look at."""
    from glyph_worker.render.preview import render_file
    from glyph_worker.render.style import Style
    from glyph_worker.worker.style import resolve_style

    settings = Settings.load()
    document = _document(file, settings)
    chosen = resolve_style(settings, "auto") if style == "auto" else Style.load(style)
    summary = render_file(document.text, chosen, out_dir, show_map=show_map)
    fields = dataclasses.asdict(summary)
    if as_json:
        _print_json(fields)
        return
    table = Table(show_header=False, box=None)
    for name, value in fields.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
        if not isinstance(value, (list, tuple)):
            table.add_row(
                name.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value)
            )
    out.print(table)


@jobs_app.command("list")
def jobs_list(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Jobs that are not final, newest first."""
    client = Client.from_env()
    _print_jobs(client, client.unfinished(limit), as_json)


@jobs_app.command("dead")
def jobs_dead(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Jobs at work on which workers have died, newest first."""
    client = Client.from_env()
    _print_jobs(client, client.dead(limit), as_json)


@jobs_app.command("show")
def jobs_show(job_id: str) -> None:
    """All that is known of one job, as JSON."""
    client = Client.from_env()
    job = client.status(job_id)
    answer = client.result(job_id) if job.status is JobStatus.SUCCEEDED else None
    print(json.dumps(_row(job, answer), ensure_ascii=False, indent=2))


@jobs_app.command("retry")
def jobs_retry(job_id: str) -> None:
    """Queue a failed or cancelled job's question again; print the new job's id."""
    print(Client.from_env().retry(job_id).id)


@jobs_app.command("replay")
def jobs_replay(
    job_id: str,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the PNG pages.")],
    as_json: AsJson = False,
) -> None:
    """Do a stored job again here, beside the same batch-mates, without touching it."""
    from glyph_worker.replay import replay

    done = replay(Settings.load(), job_id, out_dir)
    fields = {
        "answer": done.answer.to_fields() if isinstance(done.answer, Answer) else None,
        "error": None if isinstance(done.answer, Answer) else done.answer.to_wire(),
        "stored": None if done.stored is None else done.stored.to_fields(),
        "mates": done.mates,
        "pages": str(done.pages),
    }
    if as_json:
        _print_json(fields)
        return
    again = done.answer.text if isinstance(done.answer, Answer) else str(done.answer)
    out.print(f"now:    {again}", highlight=False)
    out.print(f"then:   {'-' if done.stored is None else done.stored.text}", highlight=False)
    out.print(f"beside: {len(done.mates)} others; pages in {done.pages}/", highlight=False)


def _print_jobs(client: Client, ids: list[str], as_json: bool) -> None:
    jobs = [job for job in client.status_many(ids) if job is not None]
    if as_json:
        _print_json({"jobs": [_row(job) for job in jobs]})
        return
    table = Table("id", "status", "stage", "attempt", "tenant", "pages", "answer tokens")
    for job in jobs:
        progress = job.progress
        table.add_row(
            job.id, job.status.value, (job.stage or "-"), str(job.attempt), job.tenant,
            f"{progress.num_pages_ready}/{progress.num_pages}", str(progress.num_answer_tokens),
        )  # fmt: skip
    out.print(table)


@app.command()
def batch(
    source: Annotated[Path, typer.Argument(help="JSON lines: id, document or file, question.")],
    target: Annotated[Path, typer.Argument(help="JSON lines of answers; go on where it ends.")],
) -> None:
    """Ask everything in a file. Send it again to go on after an interruption."""
    from rich.progress import Progress

    from glyph_worker.batch import run_batch

    with Progress(console=err, transient=True) as bar:
        shown = bar.add_task("answers")
        good, bad = run_batch(
            Client.from_env(),
            source,
            target,
            on_done=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    err.print(f"{good} answered, {bad} failed; {target}")
    if bad:
        raise SystemExit(JobError.exit_code)


@cache_app.command("stats")
def cache_stats(as_json: AsJson = False) -> None:
    """What the cache server holds, and what the live workers say of it."""
    from glyph_worker.upkeep import stats

    _print_fields(dataclasses.asdict(stats(Settings.load())), as_json)


@cache_app.command("audit")
def cache_audit(
    file: Annotated[Path | None, typer.Argument(help="Compare this document's pages.")] = None,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Check every stored value, or a document's pages against fresh ones. Exit 1 on a fault."""
    from glyph_worker.upkeep import audit

    settings = Settings.load()
    document = None if file is None else _document(file, settings)
    with _counting(as_json) as tell:
        report = audit(settings, document, tenant=tenant, tell=tell)
    _print_fields(dataclasses.asdict(report), as_json)
    if not report.clean:
        raise SystemExit(1)


@cache_app.command("clear")
def cache_clear(as_json: AsJson = False) -> None:
    """Forget all features and page images. Answers stay right; the next ones take longer."""
    from glyph_worker.upkeep import clear

    _print_fields({"num_deleted": clear(Settings.load())}, as_json)


@cache_app.command("warm")
def cache_warm(file: File, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Draw and encode a document's pages before the first question comes."""
    from glyph_worker.upkeep import warm

    settings = Settings.load()
    with _counting(as_json) as tell:
        report = warm(settings, _document(file, settings), tenant=tenant, tell=tell)
    _print_fields(dataclasses.asdict(report), as_json)


def _document(file: Path, settings: Settings) -> Document:
    return Document.of(_read(file), max_bytes=settings.limits.max_document_bytes)


@contextlib.contextmanager
def _counting(silent: bool) -> Iterator[Callable[[int], None]]:
    from rich.progress import Progress

    with Progress(console=err, transient=True, disable=silent) as bar:
        shown = bar.add_task("pages", total=None)
        yield lambda number: bar.update(shown, advance=number)


def _print_fields(fields: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _print_json(fields)
        return
    table = Table(show_header=False, box=None)
    for name, value in fields.items():
        table.add_row(name.replace("_", " "), json.dumps(value, default=str))
    out.print(table)


ExitWithParent = Annotated[
    bool, typer.Option("--exit-with-parent", help="Drain when standard input ends.")
]
Concurrency = Annotated[int, typer.Option(min=0, help="0: chosen for this machine.")]


def _serve(kind: Any, concurrency: int, exit_with_parent: bool) -> None:
    from glyph_worker.telemetry import configure_logging
    from glyph_worker.worker.lifecycle import run_worker

    settings = Settings.load()
    configure_logging(settings.log_level)
    raise SystemExit(
        run_worker(settings, kind, concurrency=concurrency, exit_with_parent=exit_with_parent)
    )


@worker_app.command("render")
def worker_render(concurrency: Concurrency = 0, exit_with_parent: ExitWithParent = False) -> None:
    """Lay out and draw pages: one process per core."""
    _serve("render", concurrency, exit_with_parent)


@worker_app.command("answer")
def worker_answer(concurrency: Concurrency = 0, exit_with_parent: ExitWithParent = False) -> None:
    """Answer questions: one process per GPU, or one on the CPU."""
    _serve("answer", concurrency, exit_with_parent)


@worker_app.command("alive")
def worker_alive(
    kind: Annotated[str | None, typer.Argument(help="render or answer; default: any.")] = None,
) -> None:
    """For health checks: exit 0 when a worker of this host is heard of, 78 when none is."""
    import socket

    from glyph_worker.store.connection import connect
    from glyph_worker.store.keys import Keys
    from glyph_worker.store.workers import WorkerStore

    settings = Settings.load()
    if settings.broker_url is None:
        raise ConfigurationError("no broker: set GLYPH_BROKER_URL")
    url = settings.broker_url.get_secret_value()
    with connect(url, timeout_s=3, num_retries=0) as client:
        living = WorkerStore(client, Keys(settings.key_prefix), url=url).living()
    here = [info for info in living if info.name.partition(":")[0] == socket.gethostname()]
    mine = [info for info in here if kind in (None, info.kind)]
    for info in mine:
        print(f"{info.kind} {info.pid}: {info.num_running} of {info.capacity}")
    if not mine:
        raise ConfigurationError(f"no {kind or ''} worker of {socket.gethostname()} is heard of")


@app.command()
def doctor(
    as_json: AsJson = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting.")] = False,
) -> None:
    """What is installed, reachable and fitting, with a fix for each fault. Exit 1 on a fault."""
    from glyph_worker.doctor import describe_settings, examine

    if settings:
        rows = describe_settings(Settings.load())
        if as_json:
            _print_json({"settings": rows})
            return
        table = Table("variable", "value", "meaning")
        for row in rows:
            table.add_row(row["variable"], row["value"], row["meaning"])
        out.print(table)
        return
    findings = examine()
    if as_json:
        _print_json({"findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "fault": "[red]fault[/]"}
        for finding in findings:
            fix = f"\n        → {finding.fix}" if finding.fix else ""
            out.print(
                f"{marks[finding.level]:>14}  {finding.what}: {finding.found}{fix}", highlight=False
            )
    if any(finding.level == "fault" for finding in findings):
        raise SystemExit(1)


@app.command()
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
        patience_s=patience, tiny=tiny, logs=logs, say=err.print,
    )  # fmt: skip
    if report is not None:
        report.write_text(json.dumps(found, indent=1) + "\n")
    if as_json:
        _print_json(found)
    else:
        from glyph_worker.chaos.report import table

        out.print(table(found))
    if not all(bar["met"] for bar in found["bars"].values()):
        raise SystemExit(1)


def main() -> None:
    """Entry point: errors of the tree become one line on stderr and their exit code."""
    try:
        app()
    except GlyphError as exc:
        print(f"error[{exc.code}]: {exc}", file=sys.stderr)
        raise SystemExit(exc.exit_code) from None
    except BrokenPipeError:
        raise SystemExit(0) from None


if __name__ == "__main__":
    main()
