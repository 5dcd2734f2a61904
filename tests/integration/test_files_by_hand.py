"""The command line takes what the gateway takes: HTML, PDF and any text, by file or from a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis

from glyph_worker.client import Client
from glyph_worker.document import Document
from glyph_worker.intake.reader import FileReader
from glyph_worker.settings import Settings

CASES = Path(__file__).parents[1] / "cases"


def command(*words: str, broker_url: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("GLYPH_")}
    if broker_url:
        environ["GLYPH_BROKER_URL"] = broker_url
    return subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", *words],
        env=environ | more, capture_output=True, text=True, check=False,
    )  # fmt: skip


def document_of(broker_url: str, job_id: str) -> str:
    client = Client(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))
    with redis.Redis.from_url(broker_url):
        return client._blobs.get(client.status(job_id).document_digest).text


@pytest.mark.parametrize(
    ("file", "holds"),
    [
        ("html/table.html", "Pears (ripe) | 3 | 0.80"),
        ("uploads/table.pdf", "Pears |  | 0.80"),
        ("uploads/form.pdf", "Ada Lovelace"),
        ("uploads/utf16le_bom.txt", "Zoë Müller"),
        ("uploads/app.log.1", "port 8443"),
    ],
)
def test_submit_reads_files_of_every_kind(broker_url: str, file: str, holds: str) -> None:
    done = command("submit", str(CASES / file), "-q", "What?", "--json", broker_url=broker_url)
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    assert holds in document_of(broker_url, job["id"])


def test_a_submit_says_which_pages_are_pictures(broker_url: str) -> None:
    path = str(CASES / "uploads" / "mixed_scan.pdf")
    done = command("submit", path, "-q", "What?", "--json", broker_url=broker_url)
    assert done.returncode == 0, done.stderr
    (job,) = json.loads(done.stdout)["jobs"]
    assert "page 2" in job["document_notes"][0]
    assert done.stderr.startswith("note: 1 of the PDF's 2 pages ")


def test_a_document_of_pictures_alone_is_taken_and_as_text_refused_with_what_is_missing(
    broker_url: str,
) -> None:
    path = str(CASES / "uploads" / "scan.pdf")
    done = command("submit", path, "-q", "What?", "--json", broker_url=broker_url)
    assert done.returncode == 0, done.stderr
    done = command("submit", path, "-q", "What?", "--pdf", "sideways", broker_url=broker_url)
    assert done.returncode == 2
    assert "pdf is 'sideways', must be 'text' or 'image' or 'auto'" in done.stderr


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("uploads/enc_user.pdf", "error[unreadable_document]: the PDF asks for a password"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_with_exit_code_2(
    broker_url: str, file: str, says: str
) -> None:
    done = command("submit", str(CASES / file), "-q", "What?", broker_url=broker_url)
    assert done.returncode == 2
    assert done.stderr.startswith(says)
    assert len(done.stderr.splitlines()) == 1


def test_a_picture_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_bytes(b"GIF89a" + bytes(20))
    done = command("render", str(tmp_path / "page.txt"), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "the file is a GIF picture, which is not read here; save it as PNG" in done.stderr


def test_render_draws_a_page_of_html_from_a_pipe(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", "render", "-", "--out", str(tmp_path), "--json"],
        input="<!doctype html><p>port 8443", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_chars"] == len("port 8443\n")


def test_a_batch_reads_its_files_as_submit_does_and_each_but_once(
    broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glyph_worker.cli.batch.run import Batch, run_batch

    lines = [
        {"id": f"{file}-{number}", "file": str(CASES / file), "question": f"What {number}?"}
        for file in ("uploads/table.pdf", "html/table.html", "uploads/enc_user.pdf")
        for number in range(3)
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen: list[str] = []

    class Once(FileReader):
        def read(self, raw: bytes, *, name: str = "", **said: Any) -> Document:
            seen.append(name)
            return super().read(raw, name=name, **said)

    monkeypatch.setattr("glyph_worker.intake.reader.FileReader", Once)
    client = Client(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))
    queued: list[str] = []

    def collect(self: Batch) -> int:
        queued.extend(self._in_flight)
        number = len(self._in_flight)
        self._in_flight.clear()  # no worker runs here
        return number

    monkeypatch.setattr(Batch, "_collect", collect)
    run_batch(client, source, target, on_done=lambda done, total: None)
    assert seen.count("table.pdf") == seen.count("table.html") == 1
    texts = {document_of(broker_url, job_id).strip() for job_id in queued}
    assert len(queued) == 6
    assert any("Pears |  | 0.80" in text for text in texts)
    rows = [json.loads(row) for row in target.read_text().splitlines()]
    assert [row["error"]["code"] for row in rows] == ["unreadable_document"] * 3
