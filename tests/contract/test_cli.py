"""The command line against a real store: what it prints is data, what it reads are ids' beginnings.

No worker runs: jobs are answered here, by the record store's own verbs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from waiting import PATIENCE_S, wait_until

from glyph_worker import Client, Settings, __version__
from glyph_worker.job import Answer, FinishReason, Priority, Receipt, Stage
from glyph_worker.job_options import JobOptions
from glyph_worker.store.backlog import Submission
from glyph_worker.store.jobs import JobStore

EVIL = (
    "bob [at] example.com [bold]not[/bold] :smile: \x1b[2J\x1b]0;title\x07\rhidden\x9b31m\u202etxt"
)
SHOWN = (
    "bob [at] example.com [bold]not[/bold] :smile: "
    r"\x1b[2J\x1b]0;title\x07\x0dhidden\x9b31m\u202etxt"
)


@pytest.fixture
def client(broker_url: str) -> Client:
    return Client(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))


@pytest.fixture
def cli(broker_url: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(*words), env=_environ(broker_url), capture_output=True, text=True, check=False,
            timeout=PATIENCE_S, **more,
        )  # fmt: skip

    return run


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "glyph_worker.cli", *words]


def _environ(broker_url: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GLYPH_")}
    return clean | {"GLYPH_BROKER_URL": broker_url, "COLUMNS": "60"}


def _end(jobs: JobStore, job_id: str, text: str, *, code: str = "", **receipt: Any) -> None:
    _, order = jobs.claim(job_id, owner="w", stage=Stage.ENCODING)
    assert order is not None
    if code:
        jobs.fail(job_id, {"code": code, "message": text, "details": {}}, order)
    else:
        answer = Answer(text=text, finish_reason=FinishReason.STOP, receipt=Receipt(**receipt))
        jobs.succeed(order, answer)


@contextmanager
def answering(client: Client, text: str, *, code: str = "", **receipt: Any) -> Iterator[None]:
    """Every job that comes ends so."""
    over = threading.Event()

    def serve() -> None:
        while not over.wait(0.02):
            for job_id in client._jobs.newest(10):
                _end(client._jobs, job_id, text, code=code, **receipt)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _queue(client: Client, job_id: str) -> str:
    client._backlog.submit(
        Submission(
            job_id=job_id, tenant="default", priority=Priority.INTERACTIVE, document_digest="d",
            question="why?", options=JobOptions(), cost=1, ttl_s=60,
        )
    )  # fmt: skip
    return job_id


@pytest.fixture
def document(tmp_path: Path) -> str:
    file = tmp_path / "doc.txt"
    file.write_text("port: 8443\n")
    return str(file)


def test_answers_and_questions_are_printed_as_they_are_and_control_nothing(
    client: Client, cli: Any, document: str
) -> None:
    questions = ["What is the port [/x]?", "and [red]this[/]"]
    asked = [word for question in questions for word in ("-q", question)]
    with answering(client, EVIL, max_new_tokens_cut_to=9):
        done = cli("submit", document, *asked, "--wait")
    assert done.returncode == 0, done.stderr
    cut = "  (there was room for 9 tokens, fewer than were asked for)"
    assert done.stdout.splitlines() == [
        line for question in questions for line in (question, f"  {SHOWN}", cut)
    ]


def test_a_failed_jobs_message_is_printed_as_it_is(client: Client, cli: Any, document: str) -> None:
    with answering(client, EVIL, code="invalid_style"):
        done = cli("submit", document, "-q", "why?", "--wait")
    assert done.returncode == 5
    assert SHOWN in done.stdout
    assert f"error[invalid_style]: {SHOWN}" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_result_is_printed_as_text_and_in_json_to_the_letter(client: Client, cli: Any) -> None:
    job = client.submit("a text", "why?")
    _end(client._jobs, job.id, EVIL)
    assert cli("result", job.id).stdout == SHOWN + "\n"
    assert json.loads(cli("result", job.id, "--json").stdout)["answer"]["text"] == EVIL


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (["status", "none", "--json"], 4, "unknown_job"),
        (["submit", "{missing}", "-q", "why?", "--json"], 2, "invalid_option"),
        (["submit", "{document}", "-q", " ", "--json"], 2, "empty_question"),
        (["submit", "{document}", "-q", "?", "--deadline-s", "inf", "--json"], 2, "invalid_option"),
        (["submit", "{document}", "-q", "?", "--ttl-s", "60.5", "--json"], 2, "invalid_option"),
        (["submit", "{document}", "--json"], 2, "invalid_option"),
        (["nothing", "--json"], 2, "invalid_option"),
        (["batch", "{document}", "{document}", "--json"], 2, "invalid_option"),
    ],
)
def test_an_error_under_json_is_the_one_json_object(
    cli: Any, document: str, words: list[str], exit_code: int, code: str
) -> None:
    done = cli(*(word.format(document=document, missing=document + ".no") for word in words))
    assert done.returncode == exit_code, done.stderr
    error = json.loads(done.stdout)["error"]
    assert (error["code"], bool(error["message"])) == (code, True)
    assert done.stderr == ""


def test_jobs_that_failed_under_json_are_rows_of_the_one_object(
    client: Client, cli: Any, document: str
) -> None:
    with answering(client, "no such style", code="invalid_style"):
        done = cli("submit", document, "-q", "why?", "--wait", "--json")
    assert done.returncode == 5
    (row,) = json.loads(done.stdout)["jobs"]
    assert (row["status"], row["error"]["code"]) == ("failed", "invalid_style")
    assert done.stderr == ""


def test_times_that_are_not_yet_are_null(client: Client, cli: Any) -> None:
    job = client.submit("a text", "why?")
    row = json.loads(cli("status", job.id, "--json").stdout)
    assert row["created_at"] > 0
    assert [row[name] for name in ("started_at", "finished_at", "deadline_at")] == [None] * 3
    assert client.status(job.id).finished_at is None


def test_an_id_may_be_typed_by_its_beginning(client: Client, cli: Any) -> None:
    first = _queue(client, "abcd1111-0000-4000-8000-000000000001")
    second = _queue(client, "abcd2222-0000-4000-8000-000000000002")
    _end(client._jobs, first, "the answer")
    assert cli("result", "abcd1").stdout == "the answer\n"
    assert json.loads(cli("jobs", "show", "abcd2").stdout)["id"] == second
    several = cli("status", "abcd")
    assert several.returncode == 2
    assert f"2 jobs begin with 'abcd': {first}, {second}; type more" in several.stderr
    assert cli("cancel", "abcd2").stdout == "cancelled\n"
    again = cli("jobs", "retry", "abcd2")
    assert again.returncode == 4, "its document was never stored"
    for none in ("abc", "abcd3", "abcd*", "abcd[12]"):
        assert cli("status", none).returncode == 4


def test_a_beginning_is_looked_for_among_ones_own_jobs(client: Client, cli: Any) -> None:
    job = client.submit("a text", "why?")
    begin = job.id[:8]
    assert cli("status", begin, "--tenant", "acme").returncode == 4
    assert cli("status", begin).returncode == 0


def test_a_list_shows_ids_whole(client: Client, cli: Any) -> None:
    job = client.submit("a text", "why?")
    assert job.id in cli("jobs", "list").stdout


def test_every_option_reaches_the_record(client: Client, cli: Any, document: str) -> None:
    words = [
        "--max-new-tokens", "7", "--temperature", "0.5", "--top-p", "0.9", "--top-k", "4",
        "--seed", "3", "--stop", "a", "--stop", "b", "--style", "nano", "--min-quality", "fast",
        "--priority", "bulk", "--deadline-s", "500", "--ttl-s", "90", "--idempotency-key", "k",
        "--tenant", "acme", "--thinking", "off", "--max-thinking-tokens", "9",
        "--include-thinking",
    ]  # fmt: skip
    ids = [cli("submit", document, "-q", "why?", *words).stdout.strip() for _ in range(2)]
    assert ids[0] == ids[1]
    acme = Client(client._settings, tenant="acme")
    job, record = acme.status(ids[0]), acme._jobs.record(ids[0])
    assert (job.priority, record[b"ttl_s"]) == (Priority.BULK, b"90")
    assert job.deadline_at is not None
    _, order = acme._jobs.claim(ids[0], owner="w", stage=Stage.RENDERING)
    assert order is not None
    assert order.options == JobOptions(
        max_new_tokens=7, temperature=0.5, top_p=0.9, top_k=4, seed=3, stop=("a", "b"),
        style="nano", min_quality="fast", thinking="off", max_thinking_tokens=9,
        include_thinking=True,
    )  # fmt: skip


def test_an_answers_form_is_given_as_json_or_as_a_file(
    client: Client, cli: Any, document: str, tmp_path: Path
) -> None:
    named = {"name": "a", "schema": {"type": "object"}}
    said = json.dumps({"type": "json_schema", "json_schema": named})
    file = tmp_path / "form.json"
    file.write_text(said)
    for given in (said, str(file)):
        job_id = cli("submit", document, "-q", "why?", "--response-format", given).stdout.strip()
        order = client._jobs.peek(job_id)
        assert order.options.response_format == json.loads(said)
    chosen = ("--choices", "yes", "--choices", "no")
    job_id = cli("submit", document, "-q", "why?", *chosen).stdout.strip()
    assert client._jobs.peek(job_id).options.choices == ("yes", "no")
    for given, says in (('{"type": "x"}', "response_format.type"), ("none.json", "cannot be read")):
        done = cli("submit", document, "-q", "why?", "--response-format", given)
        assert (done.returncode, says in done.stderr) == (2, True)


def test_an_interrupted_wait_says_how_to_go_on(
    client: Client, broker_url: str, document: str
) -> None:
    with redis.Redis.from_url(broker_url) as server:
        others = {one["id"] for one in server.client_list()}
        process = subprocess.Popen(
            _command("submit", document, "-q", "why?", "--wait"), env=_environ(broker_url),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Tests that a shell has put into the background have it ignored, with all they start.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        wait_until(
            lambda: any(
                one["cmd"] == "hgetall" and one["id"] not in others for one in server.client_list()
            ),
            description="it waits",
        )
    (job_id,) = client._jobs.newest(2)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert printed == ""
    assert f"the jobs go on: {job_id}" in said
    assert f"glyph-worker result --wait {job_id}" in said
    assert "Traceback" not in said


def test_the_version_is_printed(cli: Any) -> None:
    assert cli("--version").stdout == f"glyph-worker {__version__}\n"
