"""Batch files against the real store: rows that are wrong, resumed, corrected. No worker but us."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from glyph_worker.client.batch import BatchEnd, run_batch

from glyph_worker import Client, Settings
from glyph_worker.errors import InvalidOption
from glyph_worker.job import Answer, FinishReason, Stage

GOOD = {"id": "good", "document": "a text", "question": "why?"}


class Answering(Client):
    """Ends every job as soon as it is queued: the answer is its question, or `failing` fails."""

    failing: frozenset[str] = frozenset()

    def submit(self, document: Any, question: str, **options: Any) -> Any:
        job = super().submit(document, question, **options)
        if not job.status.final:
            _, order = self._jobs.claim(job.id, owner="w", stage=Stage.ENCODING)
            if order is None:
                return job
            if question in self.failing:
                error = {"code": "engine_fault", "message": "it broke", "details": {}}
                assert self._jobs.fail(job.id, error, order)
            else:
                answer = Answer(text=f"re: {question}", finish_reason=FinishReason.STOP)
                assert self._jobs.succeed(order, answer)
        return job


class Files:
    def __init__(self, folder: Path, client: Answering) -> None:
        self.source, self.target = folder / "in.jsonl", folder / "out.jsonl"
        self.client = client

    def ask(self, *lines: Any) -> BatchEnd:
        raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        self.source.write_bytes(b"\n".join(raw) + b"\n")
        return run_batch(self.client, self.source, self.target, on_done=lambda *_: None)

    def rows(self) -> dict[str | None, Any]:
        found = [json.loads(row) for row in self.target.read_bytes().splitlines()]
        ids = [row["id"] for row in found if row["id"] is not None]
        assert len(ids) == len(set(ids)), "an id has one row"
        return {row["id"]: row for row in found}


@pytest.fixture
def files(tmp_path: Path, broker_url: str) -> Files:
    return Files(tmp_path, Answering(Settings.load(environ={"GLYPH_BROKER_URL": broker_url})))


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ({"id": "x", "document": 7, "question": "why?"}, "invalid_option", "document is 7"),
        (GOOD | {"id": "x", "deadline_s": "soon"}, "invalid_option", "deadline_s is 'soon'"),
        (GOOD | {"id": "x", "deadline_s": 10**400}, "invalid_option", "a number of 1329 bits"),
        (GOOD | {"id": "x", "ttl_s": 60.5}, "invalid_option", "ttl_s is 60.5"),
        (GOOD | {"id": "x", "question": "\ud800?"}, "invalid_encoding", "U+D800"),
        (GOOD | {"id": "x", "document": "a\ud800"}, "invalid_encoding", "U+D800"),
        (GOOD | {"id": "x", "max_tokens": 3}, "invalid_option", "'max_tokens'; there are"),
        (GOOD | {"id": "x", "question": None}, "invalid_option", "question is None"),
        ({"id": "x", "document": "a text"}, "invalid_option", "question is missing"),
        ({"id": "x", "question": "why?"}, "invalid_option", "document is missing"),
        ({"id": "x", "file": "none.txt", "question": "?"}, "invalid_option", "cannot be read: No"),
        ({"id": "x", "file": "a\0b", "question": "?"}, "invalid_option", "cannot be read"),
        ({"id": "x", "file": 7, "question": "why?"}, "invalid_option", "file is 7"),
        (GOOD | {"id": "x", "idempotency_key": "k"}, "invalid_option", "no idempotency_key"),
        (GOOD | {"id": "x", "document": " "}, "empty_document", "no readable character"),
    ],
)
def test_a_wrong_line_has_its_own_error_and_harms_no_other(
    files: Files, line: Any, code: str, says: str
) -> None:
    for _ in range(2):  # again at each resume, and never a traceback
        end = files.ask(line, GOOD)
        assert (end.num_answered, end.num_failed) == (1, 1)
        assert says in end.first_error
        error = files.rows()["x"]
        assert (error["line"], error["error"]["code"]) == (1, code)
        assert files.rows()["good"]["text"] == "re: why?"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ('{"id": "x", "document": "Größe", "question": "?"}'.encode("latin-1"), "byte 0xf6 at"),
        (b"no json", "it is no JSON"),
        (b"[1]", "it is a list"),
        (b"[" * 100_000, "it is no JSON"),
        (b'{"id": 1e400, "document": "a", "question": "?"}', "id is inf"),
        (b'{"id": "\\ud800", "document": "a", "question": "?"}', "U+D800"),
        (json.dumps(GOOD).encode(), "an earlier line has the id 'good'"),
    ],
)
def test_a_line_whose_id_cannot_be_read_is_named_by_its_number(
    files: Files, raw: bytes, says: str
) -> None:
    end = files.ask(GOOD, raw)
    assert (end.num_answered, end.num_failed) == (1, 1)
    assert files.rows()[None]["line"] == 2
    assert says in files.rows()[None]["error"]["message"]


def test_a_corrected_line_is_a_new_job_and_takes_its_errors_place(files: Files) -> None:
    assert files.ask(GOOD | {"deadline_s": "soon"}).num_failed == 1
    end = files.ask(GOOD | {"deadline_s": 50})
    assert (end.num_answered, end.num_failed) == (1, 0)
    assert files.rows()["good"]["text"] == "re: why?"


@pytest.mark.parametrize("change", [{"question": "how?"}, {"document": "another"}, {"seed": 3}])
def test_a_line_whose_content_changed_is_asked_anew(files: Files, change: Any) -> None:
    other = GOOD | {"id": "other"}
    files.ask(GOOD, other)
    before = files.rows()
    files.ask(GOOD | change, other)
    after = files.rows()
    assert after["good"]["job_id"] != before["good"]["job_id"]
    assert after["other"] == before["other"]
    files.ask(GOOD | change | {"ttl_s": 60, "priority": "interactive"}, other)
    assert files.rows() == after, "what changes no answer asks nothing"


def test_a_file_that_changed_is_asked_anew(files: Files) -> None:
    document = files.source.parent / "doc.txt"
    line = {"id": "f", "file": "doc.txt", "question": "why?"}
    document.write_text("a text")
    files.ask(line)
    before = files.rows()["f"]["job_id"]
    files.ask(line)
    assert files.rows()["f"]["job_id"] == before
    document.write_text("another text")
    files.ask(line)
    assert files.rows()["f"]["job_id"] != before


def test_what_failed_is_asked_again_and_only_that(files: Files) -> None:
    files.client.failing = frozenset({"broken?"})
    lines = GOOD, {"id": "bad", "document": "a text", "question": "broken?"}
    for _ in range(2):
        end = files.ask(*lines)
        assert (end.num_answered, end.num_failed) == (1, 1)
        assert end.first_error == "line 2: it broke"
    good = files.rows()["good"]
    files.client.failing = frozenset()
    end = files.ask(*lines)
    assert (end.num_answered, end.num_failed) == (2, 0)
    assert files.rows()["bad"]["text"] == "re: broken?"
    assert files.rows()["good"] == good


@pytest.mark.parametrize(
    "there",
    [b"notes\nline\n", b"\n" + b'{"id": "a", "text": "x"}\n', b'{"id": "a", "text": "x"}\n\n',
     b"notes without an end", json.dumps(GOOD).encode() + b"\n", b"7\n", b'{"id": 7, "text": ""}\n',
     b"[" * 100_000 + b"\n", b"\xff\n"],
    ids=range(9),
)  # fmt: skip
def test_a_target_that_is_something_else_is_refused_and_left_alone(
    files: Files, there: bytes
) -> None:
    files.target.write_bytes(there)
    with pytest.raises(InvalidOption, match=r"line \d of .*out.jsonl is no answer of a batch"):
        files.ask(GOOD)
    assert files.target.read_bytes() == there


@pytest.mark.parametrize("tail", [b"{", b'{"id": "good", "te', b'{"id": "b", "text": "whole"}'])
def test_only_a_last_row_that_was_cut_off_is_dropped(files: Files, tail: bytes) -> None:
    files.target.write_bytes(b'{"id": "a", "text": "kept"}\n' + tail)
    files.ask(GOOD)
    assert list(files.rows()) == ["a", "good"]


def test_a_target_that_is_the_source_is_refused(files: Files) -> None:
    files.target.symlink_to(files.source)
    with pytest.raises(InvalidOption, match="source and target"):
        files.ask(GOOD)
    assert json.loads(files.source.read_text()) == GOOD


def test_files_that_cannot_be_opened_are_named(files: Files) -> None:
    files.target = files.target.parent / "none" / "out.jsonl"
    with pytest.raises(InvalidOption, match=r"none/out.jsonl cannot be written: No such file"):
        files.ask(GOOD)
    files.source.unlink()
    files.target = files.source.parent / "new.jsonl"
    with pytest.raises(InvalidOption, match=r"in.jsonl cannot be read"):
        run_batch(files.client, files.source, files.target, on_done=lambda *_: None)
    assert not files.target.exists()
