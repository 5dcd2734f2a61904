"""The demo as a stranger runs it: real server, real workers, the embedded reader, honest marks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def _demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GLYPH_")}
    return subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", "demo", *words, "--out", str(folder / "pages")],
        env=clean,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    done = _demo(tmp_path_factory.mktemp("demo"), "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_every_question_is_answered_and_marked_by_what_was_expected(report: dict[str, Any]) -> None:
    answers = report["answers"]
    assert len(answers) == 15
    for row in answers:
        assert row["text"], row
        assert row["correct"] == (row["text"] == row["expected"])
        assert row["proof"]
        assert row["found"] == (row["text"] != "not found")


def test_the_second_look_at_a_document_encodes_nothing(report: dict[str, Any]) -> None:
    again = [row for row in report["answers"] if row["document"] == "invoice again"]
    assert len(again) == 5
    for row in again:
        assert row["receipt"]["pages_encoded"] == 0
        assert row["receipt"]["pages_reused"] > 0
    first = [row["text"] for row in report["answers"] if row["document"] == "invoice"]
    assert [row["text"] for row in again] == first


def test_reuse_adds_up_and_the_pages_are_there_to_look_at(report: dict[str, Any]) -> None:
    receipts = [row["receipt"] for row in report["answers"]]
    assert report["reuse"]["pages_encoded"] == sum(r["pages_encoded"] for r in receipts)
    assert report["reuse"]["pages_reused"] > report["reuse"]["pages_encoded"] > 0
    assert set(report["timings"]) == {"ready_s", "answers_s"}
    assert len(report["pages"]) == 2
    for folder in report["pages"]:
        assert list(Path(folder).glob("*.png"))


def test_ones_own_file_is_asked_what_its_fields_suggest_in_eighty_columns(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("colour: teal\nsize: 42\n")
    done = _demo(tmp_path, "mine.txt")
    assert done.returncode == 0, done.stderr
    assert "What is the colour?" in done.stdout
    assert "What is the size?" in done.stdout
    table, _, words = done.stdout.partition("stands in the document")
    assert max(len(line) for line in table.splitlines()) <= 80
    assert "✓ page 1" in table
    assert "none of them says it is right" in words
    assert list((tmp_path / "pages").rglob("*.png"))
