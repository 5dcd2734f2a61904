"""`glyph-worker jobs`: look at jobs, and do them again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from glyph_worker.cli.ids import all_jobs, whole_id
from glyph_worker.cli.show import AsJson, job_row, out, print_json, say, table
from glyph_worker.client import Client
from glyph_worker.job import Answer, Job, JobStatus
from glyph_worker.settings import Settings

app = typer.Typer(help="Look at jobs, and do them again.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, help="How many.")]
JobId = Annotated[str, typer.Argument(help="Its id, or the beginning that only it has.")]


@app.command("list")
def jobs_list(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Jobs that are not final, newest first, of all tenants."""
    jobs = all_jobs(Settings.load())
    _print_jobs(jobs.get_many(jobs.newest(limit)), as_json)


@app.command("dead")
def jobs_dead(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Jobs at work on which workers have died, newest first, of all tenants."""
    jobs = all_jobs(Settings.load())
    _print_jobs(jobs.get_many(jobs.dead(limit)), as_json)


@app.command("show")
def jobs_show(job_id: JobId) -> None:
    """All that is known of one job, as JSON."""
    client, job_id = _found(job_id)
    job = client.status(job_id)
    answer = client.result(job_id) if job.status is JobStatus.SUCCEEDED else None
    print_json(job_row(job, answer), indent=2)


@app.command("retry")
def jobs_retry(job_id: JobId, as_json: AsJson = False) -> None:
    """Queue a failed or cancelled job's question again; print the new job's id."""
    client, job_id = _found(job_id)
    again = client.retry(job_id)
    if as_json:
        print_json(job_row(again))
    else:
        say(again.id)


@app.command("replay")
def jobs_replay(
    job_id: JobId,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the PNG pages.")],
    as_json: AsJson = False,
) -> None:
    """Do a stored job again here, beside the same batch-mates, without touching it."""
    from glyph_worker.worker.replay import replay

    settings = Settings.load()
    done = replay(settings, whole_id(all_jobs(settings), job_id), out_dir)
    fields = {
        "answer": done.answer.to_fields() if isinstance(done.answer, Answer) else None,
        "error": None if isinstance(done.answer, Answer) else done.answer.to_wire(),
        "stored": None if done.stored is None else done.stored.to_fields(),
        "mates": done.batch_mates,
        "pages": str(done.pages),
    }
    if as_json:
        print_json(fields)
        return
    again = done.answer.text if isinstance(done.answer, Answer) else str(done.answer)
    say(f"now:    {again}")
    say(f"then:   {'-' if done.stored is None else done.stored.text}")
    say(f"beside: {len(done.batch_mates)} others; pages in {done.pages}/")


def _found(job_id: str) -> tuple[Client, str]:
    """The client of the job's tenant, and its whole id."""
    settings = Settings.load()
    jobs = all_jobs(settings)
    job_id = whole_id(jobs, job_id)
    return Client(settings, tenant=jobs.get(job_id).tenant), job_id


def _print_jobs(found: Sequence[Job | None], as_json: bool) -> None:
    jobs = [job for job in found if job is not None]
    if as_json:
        print_json({"jobs": [job_row(job) for job in jobs]})
        return
    header = ("id", "status", "stage", "attempt", "tenant", "pages", "answer tokens")
    rows = [
        (
            job.id, job.status.value, (job.stage or "-"), str(job.attempt), job.tenant,
            f"{job.progress.num_pages_ready}/{job.progress.num_pages}",
            str(job.progress.num_answer_tokens),
        )
        for job in jobs
    ]  # fmt: skip
    out.print(table(header, rows, whole=("id",)))
