"""What operators type: cache upkeep, bulk files, jobs looked at and done again. Real workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from waiting import PATIENCE_S, wait_until

from glyph_worker.client import Client
from glyph_worker.intake.reader import read_path
from glyph_worker.settings import Settings

# What is on the cache server is used, always: on a tiny model a worker would rightly find encoding
# cheaper than asking or waiting, and one hit in 500 is encoded again to audit it.
REUSE = {
    "GLYPH_OFF": "break_even",
    "GLYPH_FEATURES_TIMEOUT_S": "30",
    "GLYPH_FEATURES_AUDIT_SHARE": "0",
}
DOCUMENT = "".join(f"valve {n}: {n * 13} bar\n" for n in range(90))


@pytest.fixture(scope="module")
def service(module_fleet: Any) -> Any:
    module_fleet.start("render", wait=False)
    module_fleet.start("answer", **REUSE)
    module_fleet.wait_ready(module_fleet.processes[0])
    return module_fleet


def _cli(service: Any, *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", *words],
        env=service.full_environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def test_a_warmed_document_is_answered_without_encoding_a_page(
    service: Any, tmp_path: Path
) -> None:
    text = "".join(f"pump {n}: {n * 17} kW\n" for n in range(90))
    file = tmp_path / "pumps.txt"
    file.write_text(text)
    warmed = _cli(service, "cache", "warm", str(file), "--json")
    assert warmed["num_pages"] == warmed["num_encoded"] > 1
    assert warmed["published"]
    client = service.client
    receipt = client.wait(
        client.submit(text, "Which pump?", max_new_tokens=64).id, timeout=PATIENCE_S
    ).receipt
    assert (receipt.pages_encoded, receipt.pages_reused) == (0, warmed["num_pages"])
    assert receipt.pages_rendered == 0
    stats = _cli(service, "cache", "stats", "--json")
    assert stats["num_features"] >= warmed["num_pages"]
    audit = _cli(service, "cache", "audit", str(file), "--json")
    assert (audit["num_checked"], audit["num_mismatched"]) == (warmed["num_pages"], 0)


def test_a_warmed_picture_is_the_one_that_is_asked_about(service: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.png"
    shade = np.random.default_rng(11).integers(0, 255, (392, 448), dtype=np.uint8)
    Image.fromarray(shade).save(file)
    warmed = _cli(service, "cache", "warm", str(file), "--pdf", "image", "--json")
    assert warmed["num_pages"] == warmed["num_encoded"] == 1
    document = read_path(file, Settings.load(environ={}), pdf="image")
    client = service.client
    receipt = client.wait(
        client.submit(document, "What is it?", max_new_tokens=4).id, timeout=PATIENCE_S
    ).receipt
    assert (receipt.pages_encoded, receipt.pages_reused) == (0, 1)
    audit = _cli(service, "cache", "audit", str(file), "--pdf", "image", "--json")
    assert (audit["num_checked"], audit["num_mismatched"]) == (1, 0)


def test_a_restarted_worker_answers_a_known_document_without_encoding(service: Any) -> None:
    client = service.client
    document = DOCUMENT + "asked of two workers, one after the other\n"
    first = service.start("answer", **REUSE)
    for process in service.processes[:]:
        if process is not first and process is not service.processes[0]:
            service.stop_one(process)
    before = client.wait(
        client.submit(document, "Which valve?", max_new_tokens=64).id, timeout=PATIENCE_S
    )
    assert before.receipt.pages_encoded >= 1
    service.stop_one(first)
    service.start("answer", **REUSE)
    after = client.wait(
        client.submit(document, "Which valve?", max_new_tokens=64).id, timeout=PATIENCE_S
    )
    assert after.receipt.pages_encoded == after.receipt.pages_rendered == 0
    num_pages = before.receipt.pages_encoded + before.receipt.pages_reused
    assert after.receipt.pages_reused == num_pages
    assert after.text == before.text


def test_a_bulk_file_is_answered_and_goes_on_where_it_stopped(service: Any, tmp_path: Path) -> None:
    (tmp_path / "doc.txt").write_text(DOCUMENT)
    rows = [
        {"id": f"q{n}", "file": "doc.txt", "question": f"valve {n}?", "max_new_tokens": 4}
        for n in range(12)
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows[:7]))
    _cli(service, "batch", str(source), str(target))
    first = target.read_text().splitlines()
    assert {json.loads(row)["id"] for row in first} == {f"q{n}" for n in range(7)}
    # A crash in the middle of a line, and five more questions.
    target.write_text("\n".join(first) + '\n{"id": "q7", "te')
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _cli(service, "batch", str(source), str(target))
    after = [json.loads(row) for row in target.read_text().splitlines()]
    assert sorted(row["id"] for row in after) == sorted(row["id"] for row in rows)
    assert all(row["receipt"]["answer_tokens"] == 4 for row in after)
    assert len({row["job_id"] for row in after}) == 12


def test_a_bulk_file_killed_in_the_middle_asks_nothing_twice(service: Any, tmp_path: Path) -> None:
    (tmp_path / "doc.txt").write_text(DOCUMENT)
    rows = [
        {"id": f"r{n}", "file": "doc.txt", "question": f"valve {n}?\u2028", "max_new_tokens": 4}
        for n in range(60)
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # What an answer may hold and a careless reader would take for the end of a line.
    target.write_text('{"id": "r0", "text": "a\u2028b\x85c"}\n')
    first = subprocess.Popen(
        [sys.executable, "-m", "glyph_worker.cli", "batch", str(source), str(target)],
        env=service.full_environ,
        stderr=subprocess.DEVNULL,
    )
    wait_until(
        lambda: target.read_text().count('"job_id"') >= 5,
        description="some answers are there",
    )
    first.kill()
    first.wait()
    _cli(service, "batch", str(source), str(target))
    after = [json.loads(row) for row in target.read_bytes().split(b"\n") if row]
    assert sorted(row["id"] for row in after) == sorted(row["id"] for row in rows)
    assert after[0]["text"] == "a\u2028b\x85c"
    assert len({row["job_id"] for row in after[1:]}) == 59


def test_a_deadline_that_cannot_be_met_is_a_bulk_lines_own_error(
    service: Any, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"id": "late", "deadline_s": 0.0001},
        {"id": "wrong", "priority": "urgent"},
        {"id": "good"},
    ]
    source.write_text(
        "".join(json.dumps(row | {"document": DOCUMENT, "question": "?"}) + "\n" for row in rows)
    )
    done = subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", "batch", str(source), str(target)],
        env=service.full_environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    ends = {row["id"]: row for row in map(json.loads, target.read_text().splitlines())}
    assert ends["late"]["error"]["code"] in ("deadline_too_short", "deadline_passed")
    assert ends["wrong"]["error"]["code"] == "invalid_option"
    assert ends["good"]["text"] is not None


def test_a_bulk_line_that_is_no_job_is_named(service: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"document": "a text", "question": "why?"}\n{"document": "x"}\n')
    done = subprocess.run(
        [sys.executable, "-m", "glyph_worker.cli", "batch", str(source), str(target)],
        env=service.full_environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    last = done.stderr.strip().splitlines()[-1]
    assert "1 answered, 1 failed" in last
    assert "line 2: question is missing" in last
    rows = {row["id"]: row for row in map(json.loads, target.read_text().splitlines())}
    assert rows["2"]["error"]["code"] == "invalid_option"
    assert rows["1"]["receipt"]["answer_tokens"] >= 1


def test_a_job_is_looked_at_and_replayed_beside_its_mates(service: Any, tmp_path: Path) -> None:
    client = service.client
    jobs = client.submit_many(DOCUMENT, [f"valve {n}?" for n in range(4)], max_new_tokens=40)
    answers = [client.wait(job.id, timeout=PATIENCE_S) for job in jobs]
    shown = json.loads(_cli(service, "jobs", "show", jobs[3].id))
    assert shown["answer"]["text"] == answers[3].text
    again = _cli(service, "jobs", "replay", jobs[3].id, "--out", str(tmp_path / "p"), "--json")
    assert again["answer"]["text"] == again["stored"]["text"] == answers[3].text
    receipt = answers[3].receipt
    num_pages = receipt.pages_encoded + receipt.pages_reused
    assert len(list((tmp_path / "p").glob("*.png"))) == num_pages


def test_a_failed_job_is_retried_as_a_new_one(service: Any) -> None:
    client = service.client
    failed = client.submit(DOCUMENT, "why?", style="cubist")
    with pytest.raises(Exception, match="cubist"):
        client.wait(failed.id, timeout=PATIENCE_S)
    new = _cli(service, "jobs", "retry", failed.id).strip()
    assert new != failed.id
    with pytest.raises(Exception, match="cubist"):
        client.wait(new, timeout=PATIENCE_S)
    assert _cli(service, "jobs", "list", "--json") == {"jobs": []}


def test_an_operator_sees_and_retries_every_tenants_jobs(service: Any) -> None:
    client = Client(service.settings, tenant="acme")
    failed = client.submit(DOCUMENT, "why?", style="cubist")
    with pytest.raises(Exception, match="cubist"):
        client.wait(failed.id, timeout=PATIENCE_S)
    assert json.loads(_cli(service, "jobs", "show", failed.id))["tenant"] == "acme"
    new = _cli(service, "jobs", "retry", failed.id).strip()
    with pytest.raises(Exception, match="cubist"):
        client.wait(new, timeout=PATIENCE_S)
    waiting = client.submit(DOCUMENT, "long?", max_new_tokens=1_000)
    listed = _cli(service, "jobs", "list", "--json")["jobs"]
    assert waiting.id in {row["id"] for row in listed}
    client.cancel(waiting.id)
    wait_until(lambda: client.status(waiting.id).status.final, description="it is gone")
    assert _cli(service, "jobs", "dead", "--json") == {"jobs": []}


def test_pages_are_drawn_as_pngs_with_counts(service: Any, tmp_path: Path) -> None:
    file = tmp_path / "doc.txt"
    file.write_text(DOCUMENT)
    summary = _cli(service, "render", str(file), "--out", str(tmp_path / "pages"), "--json")
    files = sorted((tmp_path / "pages").glob("*.png"))
    assert len(files) == summary["num_pages"] > 1
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert summary["num_chars"] == len(DOCUMENT)
