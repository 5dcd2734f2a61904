"""A question's way: submit, status, result, cancel; and many of them, batch."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from glyph_worker.cli.ids import all_jobs, whole_id
from glyph_worker.cli.proof import proof_parts
from glyph_worker.cli.show import (
    AsJson,
    Files,
    FilesOrNone,
    PdfMode,
    err,
    job_row,
    print_json,
    read_documents,
    say,
)
from glyph_worker.client import Client
from glyph_worker.errors import InvalidOption, JobError
from glyph_worker.job import Answer, FinishReason, Job, JobStatus
from glyph_worker.options import OPTION_NAMES, SubmitOptions, rule
from glyph_worker.settings import Settings

INTERRUPTED = 130

JobId = Annotated[str, typer.Argument(help="Its id, or the beginning that only it has.")]
Tenant = Annotated[str, typer.Option(help="Whose jobs.")]


def _option(name: str) -> Any:
    return typer.Option(help=f"{rule(name)}.".capitalize())


def submit(
    question: Annotated[list[str], typer.Option("--question", "-q", help="May be repeated.")],
    file: FilesOrNone = None,
    max_new_tokens: Annotated[int | None, _option("max_new_tokens")] = None,
    temperature: Annotated[float | None, _option("temperature")] = None,
    top_p: Annotated[float | None, _option("top_p")] = None,
    top_k: Annotated[int | None, _option("top_k")] = None,
    seed: Annotated[int | None, _option("seed")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    thinking: Annotated[str | None, _option("thinking")] = None,
    max_thinking_tokens: Annotated[int | None, _option("max_thinking_tokens")] = None,
    include_thinking: Annotated[
        bool | None, typer.Option(help="Bring the model's thoughts with its answer.")
    ] = None,
    response_format: Annotated[
        str | None, typer.Option(help="OpenAI's, as JSON or the name of a file that holds it.")
    ] = None,
    choices: Annotated[
        list[str] | None, typer.Option(help="The answer is one of these; repeat it.")
    ] = None,
    regex: Annotated[str | None, typer.Option(help="The answer is what this matches.")] = None,
    history: Annotated[
        str | None,
        typer.Option(help="Earlier turns, [[question, answer], …], as JSON or a file of it."),
    ] = None,
    follows: Annotated[
        str | None, typer.Option(help="An answered job to go on from, instead of a file.")
    ] = None,
    style: Annotated[str | None, typer.Option(help="A preset's name.")] = None,
    min_quality: Annotated[str | None, _option("min_quality")] = None,
    literals: Annotated[str | None, _option("literals")] = None,
    overflow: Annotated[str | None, _option("overflow")] = None,
    task: Annotated[str | None, _option("task")] = None,
    lens: Annotated[
        bool | None, typer.Option("--lens", help="Lay the likeliest pages' text beside it.")
    ] = None,
    priority: Annotated[str | None, _option("priority")] = None,
    deadline_s: Annotated[float | None, _option("deadline_s")] = None,
    ttl_s: Annotated[int | None, _option("ttl_s")] = None,
    webhook: Annotated[str | None, typer.Option(help="A URL told when a job ends.")] = None,
    idempotency_key: Annotated[str | None, _option("idempotency_key")] = None,
    pdf: PdfMode = "auto",
    tenant: Tenant = "default",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answers.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait.")] = None,
    as_json: AsJson = False,
) -> None:
    """Queue questions on a document; print the jobs' ids, or with --wait the answers."""
    given = {name: value for name, value in locals().items() if name in OPTION_NAMES}
    options = {name: value for name, value in given.items() if value not in (None, [])}
    for name in ("response_format", "history"):
        if name in options:
            options[name] = _json_of(name, str(options[name]))
    settings = Settings.load()
    client = Client(settings, tenant=tenant)
    if follows is not None:
        options["follows"] = whole_id(all_jobs(settings), follows, tenant=tenant)
    document = read_documents(file, settings, pdf=pdf) if file else None
    jobs = client.submit_many(document, question, **cast(SubmitOptions, options))
    if not wait:
        if as_json:
            print_json({"jobs": [job_row(job) for job in jobs]})
        else:
            for job in jobs:
                say(job.id)
        return
    try:
        _await(client, jobs, question, timeout, as_json)
    except KeyboardInterrupt:
        ids = " ".join(job.id for job in jobs)
        say(f"interrupted; the jobs go on: {ids}", to=err)
        say(f"their answers: glyph-worker result --wait {jobs[0].id}", to=err)
        say(f"take them back: glyph-worker cancel {jobs[0].id}", to=err)
        raise SystemExit(INTERRUPTED) from None


def summarize(
    file: Files,
    question: Annotated[
        str, typer.Option("--question", "-q", help="What kind of summary is wanted.")
    ] = "Summarize the document.",
    max_new_tokens: Annotated[int | None, _option("max_new_tokens")] = None,
    tenant: Tenant = "default",
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sum up a document, or several, of any length, and print the summary."""
    settings = Settings.load()
    client = Client(settings, tenant=tenant)
    options: SubmitOptions = {"task": "summarize"}
    if max_new_tokens is not None:
        options["max_new_tokens"] = max_new_tokens
    job = client.submit(read_documents(file, settings), question, **options)
    _await(client, [job], [question], timeout, as_json)


def _json_of(name: str, said: str) -> Any:
    """JSON, or the content of a file. Raises InvalidOption."""
    try:
        text = (
            said if said.lstrip().startswith(("{", "[")) else Path(said).read_text(encoding="utf-8")
        )
        return json.loads(text)
    except OSError as exc:
        raise InvalidOption(f"{name}: {said} cannot be read: {exc.strerror}", option=name) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidOption(f"{name} is no JSON: {exc}", option=name) from exc


def _await(
    client: Client, jobs: list[Job], questions: list[str], timeout: float | None, as_json: bool
) -> None:
    if not as_json:
        _show_progress(client, jobs, timeout)
    rows, failure = [], None
    for job, asked in zip(jobs, questions, strict=True):
        try:
            answer = client.wait(job.id, timeout=timeout)
        except JobError as exc:
            failure = failure or exc
            rows.append(job_row(client.status(job.id)) | {"question": asked})
            if not as_json:
                say((asked, "bold"))
                say("  ", (exc.code, "red"), f" {exc}")
            continue
        rows.append(job_row(client.status(job.id), answer) | {"question": asked})
        if not as_json:
            say((asked, "bold"))
            say("  ", answer.text, *_cut(answer))
            if proof := proof_parts(answer):
                say("  ", *proof)
    if as_json:
        print_json({"jobs": rows})
        if failure is not None:
            raise SystemExit(failure.exit_code)  # the rows have the errors
    elif failure is not None:
        raise failure


def _cut(answer: Answer) -> tuple[tuple[str, str], ...]:
    """What the reader of an answer must know of it, beside its text."""
    allowed = answer.receipt.max_new_tokens_cut_to
    if not allowed and answer.finish_reason is FinishReason.LENGTH:
        count = answer.receipt.answer_tokens
        return ((f"\n  (cut off at {count} tokens, the most that it might have)", "yellow"),)
    if not allowed:
        return ()
    return ((f"\n  (there was room for {allowed} tokens, fewer than were asked for)", "yellow"),)


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


def _found(job_id: str, tenant: str) -> tuple[Client, str]:
    settings = Settings.load()
    client = Client(settings, tenant=tenant)
    return client, whole_id(all_jobs(settings), job_id, tenant=tenant)


def status(job_id: JobId, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """What is true of a job now."""
    client, job_id = _found(job_id, tenant)
    job = client.status(job_id)
    if as_json:
        print_json(job_row(job))
        return
    stage = f", {job.stage}" if job.stage else ""
    progress = job.progress
    say(f"{job.status}{stage}; attempt {job.attempt}; pages {progress.num_pages_ready}/"
        f"{progress.num_pages}; answer tokens {progress.num_answer_tokens}")  # fmt: skip
    if job.error:
        say(f"{job.error['code']}: {job.error['message']}")


def result(
    job_id: JobId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for it.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait.")] = None,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """The answer of a job; exit code 7 while there is none."""
    client, job_id = _found(job_id, tenant)
    answer = client.wait(job_id, timeout=timeout if wait else 0)
    if as_json:
        print_json(job_row(client.status(job_id), answer))
    else:
        say(answer.text, *_cut(answer))
        if proof := proof_parts(answer):
            say(*proof, to=err)  # what is piped on is the answer


def cancel(job_id: JobId, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Take a job back."""
    client, job_id = _found(job_id, tenant)
    job = client.cancel(job_id)
    if as_json:
        print_json(job_row(job))
    else:
        done = job.status is JobStatus.CANCELLED
        say("cancelled" if done else "cancel requested; it ends within a step")


def batch(
    source: Annotated[Path, typer.Argument(help="JSON lines: id, document or file, question.")],
    target: Annotated[Path, typer.Argument(help="JSON lines of answers; go on where it ends.")],
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """Ask everything in a file. Send it again to go on after an interruption."""
    import dataclasses

    from rich.progress import Progress

    from glyph_worker.cli.batch import run_batch

    client = Client.from_env(tenant=tenant)
    with Progress(console=err, transient=True, disable=as_json) as bar:
        shown = bar.add_task("answers")
        end = run_batch(
            client,
            source,
            target,
            on_done=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    if as_json:
        print_json(dataclasses.asdict(end) | {"target": str(target)})
    else:
        first = f"; first: {end.first_error}" if end.first_error else ""
        say(f"{end.num_answered} answered, {end.num_failed} failed; {target}{first}", to=err)
    if end.num_failed:
        raise SystemExit(JobError.exit_code)
