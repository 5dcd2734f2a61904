"""`glyph-worker jobs`: look at jobs, and do them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from glyph_worker.cli.show import AsJson, job_row, out, print_json
from glyph_worker.client import Client
from glyph_worker.job import Answer, Job, JobStatus
from glyph_worker.settings import Settings
from glyph_worker.store.jobs import JobStore

app = typer.Typer(help="Look at jobs, and do them again.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, help="How many.")]


@app.command("list")
def jobs_list(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Jobs that are not final, newest first, of all tenants."""
    jobs = _records()
    _print_jobs(jobs.get_many(jobs.newest(limit)), as_json)


@app.command("dead")
def jobs_dead(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Jobs at work on which workers have died, newest first, of all tenants."""
    jobs = _records()
    _print_jobs(jobs.get_many(jobs.dead(limit)), as_json)


@app.command("show")
def jobs_show(job_id: str) -> None:
    """All that is known of one job, as JSON."""
    client = _client_of(job_id)
    job = client.status(job_id)
    answer = client.result(job_id) if job.status is JobStatus.SUCCEEDED else None
    print(json.dumps(job_row(job, answer), ensure_ascii=False, indent=2))


@app.command("retry")
def jobs_retry(job_id: str) -> None:
    """Queue a failed or cancelled job's question again; print the new job's id."""
    print(_client_of(job_id).retry(job_id).id)


@app.command("replay")
def jobs_replay(
    job_id: str,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the PNG pages.")],
    as_json: AsJson = False,
) -> None:
    """Do a stored job again here, beside the same batch-mates, without touching it."""
    from glyph_worker.cli.extras import require

    require("answer")
    from glyph_worker.worker.replay import replay

    done = replay(Settings.load(), job_id, out_dir)
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
    out.print(f"now:    {again}", highlight=False)
    out.print(f"then:   {'-' if done.stored is None else done.stored.text}", highlight=False)
    out.print(f"beside: {len(done.batch_mates)} others; pages in {done.pages}/", highlight=False)


def _records() -> JobStore:
    """All tenants' jobs: who types here has the broker's password."""
    from glyph_worker.store.open import Stores

    return Stores.open(Settings.load()).jobs


def _client_of(job_id: str) -> Client:
    return Client.from_env(tenant=_records().get(job_id).tenant)


def _print_jobs(found: Sequence[Job | None], as_json: bool) -> None:
    jobs = [job for job in found if job is not None]
    if as_json:
        print_json({"jobs": [job_row(job) for job in jobs]})
        return
    table = Table("id", "status", "stage", "attempt", "tenant", "pages", "answer tokens")
    for job in jobs:
        progress = job.progress
        table.add_row(
            job.id, job.status.value, (job.stage or "-"), str(job.attempt), job.tenant,
            f"{progress.num_pages_ready}/{progress.num_pages}", str(progress.num_answer_tokens),
        )  # fmt: skip
    out.print(table)
