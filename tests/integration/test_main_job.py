"""The way of a job, through real queues, real workers and a real (random) model."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from waiting import PATIENCE_S, wait_until

from glyph_worker.errors import (
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobFinished,
    UnknownJob,
    WaitTimeout,
)
from glyph_worker.job import FinishReason, JobStatus
from glyph_worker.terminal import visible

DOCUMENT = "invoice number: 4711\ntotal due: 12.50 EUR\n" * 40
LONG_ANSWER = 1_000


def test_a_job_goes_all_the_way_and_its_receipt_adds_up(service: Any) -> None:
    document = "".join(f"first seen here, line {n}\n" for n in range(80))
    job = service.client.submit(document, "What is line 7?", max_new_tokens=8)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 0)
    answer = service.client.wait(job.id, timeout=PATIENCE_S)
    receipt = answer.receipt
    assert receipt.pages_encoded == receipt.pages_rendered >= 3
    assert receipt.pages_reused == 0
    assert receipt.answer_tokens <= 8
    assert receipt.prompt_tokens > receipt.visual_tokens > 0
    assert receipt.compression_ratio == pytest.approx(
        receipt.document_tokens / receipt.visual_tokens, abs=1e-3
    )
    assert receipt.document_tokens == len(document)  # one token per character in this checkpoint
    spent = ("queue_ms", "render_ms", "encode_ms", "prefill_ms", "decode_ms",
             "guard_ms")  # fmt: skip
    assert all(getattr(receipt, name) >= 0 for name in spent)
    assert min(receipt.render_ms, receipt.encode_ms, receipt.decode_ms) > 0
    parts_ms = sum(getattr(receipt, name) for name in (*spent, "waited_ms"))
    assert parts_ms == pytest.approx(receipt.total_ms, abs=0.05)
    assert receipt.waited_ms >= 0
    assert receipt.max_new_tokens_cut_to == 0
    assert (receipt.device, receipt.dtype, receipt.style) == ("cpu", "float32", "nano")
    done = service.client.status(job.id)
    assert done.status is JobStatus.SUCCEEDED
    assert done.created_at < done.started_at < done.finished_at
    assert done.progress.num_pages == done.progress.num_pages_ready == receipt.pages_encoded


def test_questions_on_one_document_share_its_pages_and_its_prefix(service: Any) -> None:
    document = "".join(f"shelf {n}: B{n * 7}\n" for n in range(60))
    client = service.client
    first = client.wait(
        client.submit(document, "Which shelf?", max_new_tokens=64).id, timeout=PATIENCE_S
    ).receipt
    jobs = client.submit_many(document, ["Where?", "Which one?", "Why?"], max_new_tokens=64)
    rest = [client.wait(job.id, timeout=PATIENCE_S).receipt for job in jobs]
    assert first.pages_encoded == first.pages_rendered > 0
    for receipt in rest:
        assert (receipt.pages_encoded, receipt.pages_reused) == (0, first.pages_encoded)
        assert receipt.pages_rendered == 0
        assert receipt.prefix_tokens_reused > receipt.visual_tokens


def test_a_follow_up_goes_on_from_an_answered_job(service: Any) -> None:
    client = service.client
    document = "".join(f"drawer {n}: D{n * 3}\n" for n in range(60))
    first = client.submit(document, "Which drawer?", max_new_tokens=8)
    told = client.wait(first.id, timeout=PATIENCE_S)

    second = client.submit(None, "And then?", follows=first.id, max_new_tokens=8)
    answer = client.wait(second.id, timeout=PATIENCE_S)
    third = client.wait(
        client.submit(document, "Why?", follows=second.id, max_new_tokens=8).id, timeout=PATIENCE_S
    )

    turns = [("Which drawer?", told.text), ("And then?", answer.text)]
    spelled = client.wait(
        client.submit(document, "Why?", history=turns, max_new_tokens=8).id, timeout=PATIENCE_S
    )
    assert second.document_digest == first.document_digest
    assert answer.receipt.prompt_tokens > told.receipt.prompt_tokens
    assert answer.receipt.pages_encoded == third.receipt.pages_encoded == 0
    assert third.receipt.prefix_tokens_reused > answer.receipt.prefix_tokens_reused
    assert spelled.text == third.text
    assert spelled.receipt.prompt_tokens == third.receipt.prompt_tokens
    assert third.receipt.history_unread == 0


def test_what_cannot_be_followed_is_refused_with_the_way_out(service: Any) -> None:
    client = service.client
    done = client.submit(DOCUMENT, "What?", max_new_tokens=4)
    client.wait(done.id, timeout=PATIENCE_S)
    queued = client.submit(DOCUMENT, "What then?", max_new_tokens=LONG_ANSWER)
    with pytest.raises(InvalidOption, match=r"has no answer to follow; wait for its answer first"):
        client.submit(None, "And?", follows=queued.id)
    client.cancel(queued.id)
    wait_until(lambda: client.status(queued.id).status.final, description="the job ends")
    with pytest.raises(InvalidOption, match=r"is cancelled .*; follow the one before it"):
        client.submit(None, "And?", follows=queued.id)
    with pytest.raises(InvalidOption, match="asked about another document; leave the document out"):
        client.submit("another", "And?", follows=done.id)
    with pytest.raises(InvalidOption, match="history and follows are both there"):
        client.submit(None, "And?", follows=done.id, history=[("a", "b")])
    with pytest.raises(UnknownJob):
        client.submit(None, "And?", follows="no-such-job")
    with pytest.raises(UnknownJob):
        client.for_tenant("other").submit(None, "And?", follows=done.id)
    with pytest.raises(InvalidOption, match="there is no document; send its text or a file, or"):
        client.submit(None, "And?")


def test_the_same_question_gets_the_same_answer_alone_and_among_others(service: Any) -> None:
    client = service.client
    alone = client.wait(client.submit(DOCUMENT, "What?", max_new_tokens=24).id, timeout=PATIENCE_S)
    others = client.submit_many(
        "other text " * 50, [f"question {n}?" for n in range(5)], max_new_tokens=64
    )
    among = client.wait(client.submit(DOCUMENT, "What?", max_new_tokens=24).id, timeout=PATIENCE_S)
    assert among.text == alone.text
    for job in others:
        client.wait(job.id, timeout=PATIENCE_S)


def test_asyncio_has_the_same_verbs(service: Any) -> None:
    async def ask() -> tuple[Any, Any]:
        aio = service.client.aio
        jobs = await aio.submit_many(DOCUMENT, ["One?", "Two?"], max_new_tokens=4)
        answers = await asyncio.gather(*(aio.wait(job.id, timeout=PATIENCE_S) for job in jobs))
        return answers, await aio.status(jobs[0].id)

    answers, job = asyncio.run(ask())
    assert [answer.receipt.answer_tokens for answer in answers] == [4, 4]
    assert job.status is JobStatus.SUCCEEDED


def test_a_stop_string_and_a_seed_are_obeyed(service: Any) -> None:
    client = service.client
    plain = client.wait(
        client.submit(DOCUMENT, "Go?", max_new_tokens=32).id, timeout=PATIENCE_S
    ).text
    stop = plain[5:7]
    cut = client.wait(
        client.submit(DOCUMENT, "Go?", max_new_tokens=32, stop=stop).id, timeout=PATIENCE_S
    )
    assert cut.finish_reason is FinishReason.STOP
    assert cut.text == plain[: plain.index(stop)]
    chosen = {"max_new_tokens": 16, "temperature": 1.5, "seed": 7}
    twice = [client.submit(DOCUMENT, "Go?", **chosen) for _ in range(2)]
    texts = {client.wait(job.id, timeout=PATIENCE_S).text for job in twice}
    assert len(texts) == 1


def test_a_running_job_is_cancelled_within_steps(service: Any) -> None:
    client = service.client
    job = client.submit(DOCUMENT, "Tell me all?", max_new_tokens=LONG_ANSWER)
    wait_until(
        lambda: client.status(job.id).status is JobStatus.RUNNING, description="the job runs"
    )
    client.cancel(job.id)
    with pytest.raises(JobCancelled):
        client.wait(job.id, timeout=PATIENCE_S)
    with pytest.raises(JobFinished, match="cancelled already"):
        client.cancel(job.id)


def test_progress_is_seen_while_a_job_runs(service: Any) -> None:
    client = service.client
    job = client.submit(DOCUMENT, "All of it?", max_new_tokens=LONG_ANSWER)
    seen = wait_until(
        lambda: (now := client.status(job.id)).progress.num_answer_tokens > 5 and now,
        description="answer tokens are counted while the job runs",
    )
    assert not seen.status.final
    assert seen.stage == "decoding"
    assert seen.progress.num_pages == 3
    client.cancel(job.id)


def test_an_answer_has_the_form_that_was_asked_for(service: Any) -> None:
    """Through the queue, from a model that never ends by itself and knows nothing."""
    client = service.client
    schema = {
        "type": "object",
        "properties": {"total": {"enum": [12.5, 13]}, "paid": {"type": "boolean"}},
        "required": ["total", "paid"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "invoice", "schema": schema}}
    asked = {
        "schema": client.submit(DOCUMENT, "What?", response_format=form),
        "choice": client.submit(DOCUMENT, "What?", choices=["yes", "no"]),
        "regex": client.submit(DOCUMENT, "What?", regex="[0-9]{3} EUR"),
        "free": client.submit(DOCUMENT, "What?", max_new_tokens=20),
    }
    answers = {name: client.wait(job.id, timeout=PATIENCE_S) for name, job in asked.items()}
    assert set(json.loads(answers["schema"].text)) == {"total", "paid"}
    assert answers["choice"].text in ("yes", "no")
    assert re.fullmatch("[0-9]{3} EUR", answers["regex"].text)
    assert {answers[name].finish_reason for name in ("schema", "choice", "regex")} == {"stop"}
    assert answers["free"].finish_reason == "length"
    for answer in answers.values():
        assert answer.mean_log_prob is not None
        assert answer.min_log_prob is not None
        assert answer.min_log_prob <= answer.mean_log_prob <= 0
        assert answer.thinking is None


def test_a_form_that_only_the_compiler_refuses_fails_its_job_with_the_path(service: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}
    form = {"type": "json_schema", "json_schema": {"name": "invoice", "schema": schema}}
    job = service.client.submit(DOCUMENT, "What?", response_format=form)
    with pytest.raises(JobFailed) as caught:
        service.client.wait(job.id, timeout=PATIENCE_S)
    assert caught.value.code == "invalid_schema"
    assert caught.value.details["path"].endswith("schema.properties.a")
    assert service.client.status(job.id).attempt == 1, "it is not tried again"


def test_an_impossible_style_fails_the_job_with_its_name(service: Any) -> None:
    job = service.client.submit(DOCUMENT, "What?", style="impressionist")
    with pytest.raises(JobFailed, match="impressionist") as caught:
        service.client.wait(job.id, timeout=PATIENCE_S)
    assert caught.value.code == "invalid_style"
    failed = service.client.status(job.id)
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None


def test_a_style_may_not_name_a_file_of_the_worker(service: Any) -> None:
    job = service.client.submit(DOCUMENT, "What?", style="/etc/passwd")
    with pytest.raises(JobFailed) as caught:
        service.client.wait(job.id, timeout=PATIENCE_S)
    assert caught.value.code == "invalid_style"


def test_a_document_over_the_page_limit_fails_with_numbers(service: Any) -> None:
    job = service.client.submit("line\n" * 4_000, "What?", overflow="refuse")
    with pytest.raises(JobFailed, match="more than 100 pages") as caught:
        service.client.wait(job.id, timeout=PATIENCE_S)
    assert caught.value.code == "document_too_large"


def test_text_with_control_characters_and_strange_scripts_is_answered(service: Any) -> None:
    text = "a\x00b\x1b[31m \ufeff\u202e 漢字 العربية 😀 e\u0301\tend\r\n"
    answer = service.client.wait(
        service.client.submit(text, "What?", max_new_tokens=64).id, timeout=PATIENCE_S
    )
    assert answer.receipt.pages_encoded == 1


def test_waiting_has_an_end_and_the_job_goes_on(service: Any) -> None:
    job = service.client.submit(DOCUMENT, "How?", max_new_tokens=LONG_ANSWER)
    with pytest.raises(WaitTimeout, match="it goes on"):
        service.client.wait(job.id, timeout=0)
    service.client.cancel(job.id)


def test_a_waiter_is_woken_by_the_end_of_its_job(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client
    client.wait(client.submit("a lamp: 3 EUR\n", "what?", max_new_tokens=64).id, timeout=PATIENCE_S)
    for name in ("_FASTEST_POLL_S", "_SLOWEST_POLL_S"):
        monkeypatch.setattr(f"glyph_worker.client.client.{name}", 2 * PATIENCE_S)
    for one in range(3):
        began = time.monotonic()
        client.wait(
            client.submit("a lamp: 3 EUR\n", f"what {one}?", max_new_tokens=64).id,
            timeout=PATIENCE_S,
        )
        assert time.monotonic() - began < PATIENCE_S, "it slept on to its next look"


def test_the_command_line_asks_waits_and_speaks_json(service: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(DOCUMENT)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "glyph_worker.cli", *words]
        return subprocess.run(
            command, env=service.full_environ, capture_output=True, text=True, check=False
        )

    asked = run("submit", str(file), "-q", "One?", "-q", "Two?", "--wait", "--json")
    assert asked.returncode == 0, asked.stderr
    rows = json.loads(asked.stdout)["jobs"]
    assert [row["status"] for row in rows] == ["succeeded", "succeeded"]
    job_id = rows[0]["id"]
    assert json.loads(run("status", job_id, "--json").stdout)["status"] == "succeeded"
    printed = run("result", job_id).stdout.rstrip("\n")
    text = visible(rows[0]["answer"]["text"]).rstrip("\n")
    said = rows[0]["answer"]["finish_reason"] == "length"
    assert printed.startswith(text)
    assert ("cut off at" in printed.removeprefix(text)) is said
    again = run("cancel", job_id)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "error[job_finished]" in again.stderr
    unknown = run("status", "no-such-job")
    assert unknown.returncode == 4
    assert "error[unknown_job]" in unknown.stderr
    doctor = json.loads(run("doctor", "--json").stdout)["findings"]
    workers = {f["what"]: f["level"] for f in doctor if f["what"].endswith("workers")}
    assert workers == {"render workers": "ok", "answer workers": "ok"}


def test_an_unknown_id_is_unknown_and_not_pending(service: Any) -> None:
    for call in (service.client.status, service.client.result, service.client.cancel):
        with pytest.raises(UnknownJob, match="'nope'"):
            call("nope")


def test_no_log_and_no_message_holds_the_document_or_the_question(service: Any) -> None:
    secret, question = "zebra-piano-77", "Who owns the harpsichord?"
    job = service.client.submit(f"{secret}\n" * 5, question, max_new_tokens=4)
    service.client.wait(job.id, timeout=PATIENCE_S)

    # A worker writes it after the record that was waited for.
    def ended() -> bool:
        lines = service.logs().splitlines()
        return any(job.id in line and "job.succeeded" in line for line in lines)

    wait_until(ended, description="the job's end is logged")
    logs = service.logs()
    assert secret not in logs
    assert "harpsichord" not in logs


def test_sigterm_ends_an_idle_worker_with_code_zero(service: Any) -> None:
    extra = service.start("answer")
    extra.send_signal(signal.SIGTERM)
    assert extra.wait(timeout=PATIENCE_S) == 0
    assert extra.pid not in service.living()
