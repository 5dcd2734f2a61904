"""Every bad input is a named error with numbers and a way out, from Python and from the CLI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from glyph_worker.client import Client
from glyph_worker.errors import (
    DocumentTooLarge,
    EmptyDocument,
    EmptyQuestion,
    GlyphError,
    InvalidEncoding,
    InvalidOption,
    InvalidSetting,
    QuestionTooLong,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
    UnknownJob,
)
from glyph_worker.local.server import EmbeddedServer
from glyph_worker.settings import Settings


@pytest.fixture
def client(broker_url: str) -> Client:
    return Client(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))


def _no_job_was_made(broker_url: str) -> bool:
    with redis.Redis.from_url(broker_url) as server:
        return not list(server.scan_iter("glyph:job:*")) and not server.exists("glyph:glyph.render")


@pytest.mark.parametrize(
    ("document", "question", "options", "error", "says"),
    [
        ("", "why?", {}, EmptyDocument, "no readable character"),
        (" \n\x00", "why?", {}, EmptyDocument, "among its 3"),
        ("text", "", {}, EmptyQuestion, "ask something"),
        ("text", "\x00\t", {}, EmptyQuestion, "ask something"),
        (b"\xff\xfe", "why?", {}, InvalidEncoding, "byte 0xff at offset 0"),
        ("x" * 10_000_001, "why?", {}, DocumentTooLarge, "10000001 bytes .* limit is 10000000"),
        ("text", "w" * 4_001, {}, QuestionTooLong, "4001 characters, limit is 4000"),
        ("text", "why?", {"max_new_tokens": 9_999}, InvalidOption, "9999, limit is 1024"),
        ("text", "why?", {"max_tokens": 3}, InvalidOption, "max_new_tokens"),
        ("text", "why?", {"temperature": "hot"}, InvalidOption, "temperature is 'hot', must be"),
        ("text", "why?", {"deadline_s": float("inf")}, InvalidOption, "deadline_s is inf"),
        ("text", "why?", {"deadline_s": 10**400}, InvalidOption, "a number of 1329 bits"),
        ("text", "why?", {"ttl_s": 60.5}, InvalidOption, "ttl_s is 60.5, must be a whole number"),
        ("text", "why?", {"ttl_s": True}, InvalidOption, "ttl_s is True"),
        ("text", "why?", {"webhook": "http://a.example/\0"}, InvalidEncoding, "NUL"),
        ("text", "why?", {"idempotency_key": "\ud800"}, InvalidOption, "idempotency_key"),
        ("text", "why \ud800?", {}, InvalidEncoding, "question has a lone surrogate, U.D800"),
        ("text", 7, {}, InvalidOption, "question is of type int"),
        ("te\ud800xt", "why?", {}, InvalidEncoding, "document has a lone surrogate"),
        (7, "why?", {}, InvalidOption, "document is of type int"),
        (None, "why?", {}, InvalidOption, "there is no document"),
    ],
)
def test_a_bad_job_is_refused_at_submit(
    client: Client,
    broker_url: str,
    document: str | bytes,
    question: str,
    options: dict[str, Any],
    error: type[GlyphError],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        client.submit(document, question, **options)
    assert _no_job_was_made(broker_url)


def test_one_bad_question_of_many_queues_none(client: Client, broker_url: str) -> None:
    with pytest.raises(EmptyQuestion):
        client.submit_many("text", ["good?", "", "good too?"])
    with pytest.raises(InvalidOption, match="one string"):
        client.submit_many("text", "good?")
    assert _no_job_was_made(broker_url)


@pytest.mark.parametrize("job_id", ["none", "\ud800", "a\0b", 7, None, b"id", ""])
def test_what_is_no_jobs_id_is_an_unknown_job(client: Client, job_id: Any) -> None:
    for call in (
        client.status, client.result, client.cancel, client.retry, client.wait,
        lambda job_id: next(client.stream(job_id)),
    ):  # fmt: skip
        with pytest.raises(UnknownJob):
            call(job_id)
    assert client.status_many([job_id]) == [None]


def test_a_broker_that_is_not_there_is_said_so() -> None:
    client = Client(Settings.load(environ={"GLYPH_BROKER_URL": "redis://127.0.0.1:1/0"}))
    with pytest.raises(StoreUnavailable, match=r"127.0.0.1:1/0 does not answer"):
        client.submit("text", "why?")
    with pytest.raises(StoreUnavailable):
        client.status("any")


def test_a_missing_broker_setting_says_how_to_get_one() -> None:
    with pytest.raises(StoreUnavailable, match="GLYPH_BROKER_URL"):
        Client(Settings.load(environ={}))


def test_a_url_that_is_none_is_an_invalid_setting() -> None:
    client = Client(Settings.load(environ={"GLYPH_BROKER_URL": "http://127.0.0.1"}))
    with pytest.raises(InvalidSetting, match="no Redis URL"):
        client.status("any")


def test_a_wrong_password_is_denied_and_never_shown(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, password="right") as server:
        url = server.url().replace("right", "wrong-secret")
        client = Client(Settings.load(environ={"GLYPH_BROKER_URL": url}))
        with pytest.raises(StoreDenied, match="refuses us") as caught:
            client.submit("text", "why?")
        assert "wrong-secret" not in str(caught.value)


def test_a_full_broker_refuses_the_job_and_keeps_nothing_half(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, options=("--maxmemory", "1")) as server:
        client = Client(Settings.load(environ={"GLYPH_BROKER_URL": server.url()}))
        with pytest.raises(StoreFull, match="takes no writes"):
            client.submit("text", "why?")
        assert _no_job_was_made(server.url())


def _cli(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GLYPH_")}
    return subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", *words],
        env=clean | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "environ", "exit_code", "says"),
    [
        (["submit", "{empty}", "-q", "why?"], {}, 2, "error[empty_document]"),
        (["submit", "{missing}", "-q", "why?"], {}, 2, "cannot be read: No such file"),
        (["submit", "{latin}", "-q", "why?"], {}, 2, "error[invalid_encoding]"),
        (["status", "x"], {"GLYPH_BROKER_URL": "redis://127.0.0.1:1"}, 3, "[store_unavailable]"),
        (["status", "x"], {"GLYPH_BROKER_ULR": "redis://"}, 78, "is no setting"),
        (["worker", "answer"], {"GLYPH_MODEL": "/no/such/folder"}, 78, "error[model_unusable]"),
        (["demo", "--ask", "What is it?"], {}, 2, "a question needs a file"),
    ],
)
def test_the_command_line_says_it_in_one_line_and_by_exit_code(
    tmp_path: Path,
    broker_url: str,
    words: list[str],
    environ: dict[str, str],
    exit_code: int,
    says: str,
) -> None:
    files = {name: tmp_path / name for name in ("empty", "missing", "latin")}
    files["empty"].write_text("")
    files["latin"].write_bytes("Größe".encode("latin-1"))
    done = _cli(*(w.format(**files) for w in words), **{"GLYPH_BROKER_URL": broker_url, **environ})
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert says in last
    assert "Traceback" not in done.stderr


def test_a_broken_checkpoint_stops_the_worker_with_its_reason(
    tmp_path: Path, broker_url: str, tiny_checkpoint: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_checkpoint.iterdir():
        raw = file.read_bytes()
        (broken / file.name).write_bytes(raw[:5_000] if file.suffix == ".safetensors" else raw)
    done = _cli("worker", "answer", GLYPH_BROKER_URL=broker_url, GLYPH_MODEL=str(broken))
    assert done.returncode == 78
    assert "error[model_unusable]" in done.stderr.strip().splitlines()[-1]
