"""A question's way: submit, status, result, cancel; and many of them, batch."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from glyph_worker.cli.show import AsJson, File, err, job_row, out, print_json, read_document
from glyph_worker.client import Client
from glyph_worker.errors import JobError
from glyph_worker.job import Job, JobStatus
from glyph_worker.settings import Settings


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
    settings = Settings.load()
    client = Client(settings)
    jobs = client.submit_many(
        read_document(file, settings),
        question,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        style=style,
    )
    if not wait:
        if as_json:
            print_json({"jobs": [job_row(job) for job in jobs]})
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
            rows.append(job_row(client.status(job.id)) | {"question": asked})
            if not as_json:
                out.print(f"[bold]{asked}[/]\n  [red]{exc.code}[/] {exc}", highlight=False)
            continue
        rows.append(job_row(client.status(job.id), answer) | {"question": asked})
        if not as_json:
            out.print(f"[bold]{asked}[/]\n  {answer.text}", highlight=False)
    if as_json:
        print_json({"jobs": rows})
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


def status(job_id: str, as_json: AsJson = False) -> None:
    """What is true of a job now."""
    job = Client.from_env().status(job_id)
    if as_json:
        print_json(job_row(job))
        return
    stage = f", {job.stage}" if job.stage else ""
    progress = job.progress
    print(f"{job.status}{stage}; attempt {job.attempt}; pages {progress.num_pages_ready}/"
          f"{progress.num_pages}; answer tokens {progress.num_answer_tokens}")  # fmt: skip
    if job.error:
        print(f"{job.error['code']}: {job.error['message']}")


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
        print_json(job_row(client.status(job_id), answer))
    else:
        print(answer.text)


def cancel(job_id: str, as_json: AsJson = False) -> None:
    """Take a job back."""
    job = Client.from_env().cancel(job_id)
    if as_json:
        print_json(job_row(job))
    else:
        done = job.status is JobStatus.CANCELLED
        print("cancelled" if done else "cancel requested; it ends within a step")


def batch(
    source: Annotated[Path, typer.Argument(help="JSON lines: id, document or file, question.")],
    target: Annotated[Path, typer.Argument(help="JSON lines of answers; go on where it ends.")],
) -> None:
    """Ask everything in a file. Send it again to go on after an interruption."""
    from rich.progress import Progress

    from glyph_worker.client.batch import run_batch

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
