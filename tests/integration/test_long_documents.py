"""Documents beyond the window, through real workers and the embedded reader."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from PIL import Image
from waiting import PATIENCE_S, wait_until

from glyph_worker.document import Document, Sheet
from glyph_worker.errors import EmptyDocument, JobCancelled, JobFailed
from glyph_worker.job import JobStatus
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.store.connection import connect

QUESTION = "What is the vault code of Zephyr Station?"
FACT = "vault code of Zephyr Station: 774-1093\n"


def filler(seed: str, num_lines: int) -> list[str]:
    rng = Random(seed)
    names = ["pump", "valve", "north", "depot", "crane", "meter", "ledger", "gate", "tank", "relay"]
    kinds = "status", "serial", "owner", "weight", "color"
    return [
        f"{rng.choice(kinds)} of {rng.choice(names)} {rng.randint(10, 99)}: "
        f"{rng.choice(names)} {rng.randint(1000, 9999)}\n"
        for _ in range(num_lines)
    ]


def planted(seed: str, share: float, num_lines: int = 420) -> str:
    """Some twenty pages with the fact at a share of their length."""
    lines = filler(seed, num_lines)
    lines.insert(int(share * num_lines), FACT)
    return "".join(lines)


@pytest.fixture(scope="module")
def long_fleet(nano_fleet: Any) -> Any:
    """The embedded reader with a window of some ten pages."""
    nano_fleet.environ["GLYPH_ENGINE_WINDOW_TOKENS"] = "2500"
    nano_fleet.start("render", wait=False)
    nano_fleet.start("answer", wait=False)
    for process in nano_fleet.processes:
        nano_fleet.wait_ready(process)
    return nano_fleet


@pytest.fixture(scope="module")
def weighing_fleet(
    tmp_path_factory: pytest.TempPathFactory, redis_server: Any, fleet_class: Any
) -> Iterator[Any]:
    """The same reader, of which its folder says that it can weigh evidence."""
    folder = tmp_path_factory.mktemp("weighing")
    checkpoint = folder / "checkpoint"
    shutil.copytree(checkpoint_path(), checkpoint)
    said = {"segment_pages": 4, "weighs_evidence": True}
    (checkpoint / "long_documents.json").write_text(json.dumps(said))
    urls = redis_server.url(8), redis_server.url(9)
    for url in urls:
        with connect(url) as client:
            client.flushdb()
    fleet = fleet_class.on(folder, *urls, checkpoint)
    fleet.environ["GLYPH_ENGINE_WINDOW_TOKENS"] = "2500"
    fleet.start("render", wait=False)
    fleet.start("answer", wait=False)
    for process in fleet.processes:
        fleet.wait_ready(process)
    yield fleet
    fleet.stop()


def ask(fleet: Any, document: Any, **options: Any) -> Any:
    job = fleet.client.submit(document, QUESTION, max_new_tokens=24, **options)
    return fleet.client.wait(job.id, timeout=PATIENCE_S)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_fact_anywhere_in_a_document_beyond_the_window_is_found_and_cited(
    long_fleet: Any, share: float
) -> None:
    text = planted(f"anywhere {share}", share)
    answer = ask(long_fleet, text)
    assert answer.text == "774-1093"
    [citation] = answer.citations
    assert text[citation.start : citation.end] == citation.text == "774-1093"
    assert citation.start == text.index("774-1093")
    assert citation.page is not None
    assert citation.boxes
    receipt = answer.receipt
    assert receipt.overflow == "segments"
    num_parts = [one.end for one in receipt.segments].index(len(text)) + 1
    parts, alone = receipt.segments[:num_parts], receipt.segments[num_parts:]
    assert len(parts) >= 4
    assert {one.status for one in receipt.segments} == {"succeeded"}
    assert parts[0].start == 0
    assert len(alone) in (5, 6), "what the question's words lead to: sentences, and four pages"
    assert {one.pages for one in alone} == {1}
    assert any(one.start <= citation.start < one.end for one in alone)
    assert receipt.pages_encoded + receipt.pages_reused == sum(s.pages for s in receipt.segments)


def test_what_fits_and_is_more_than_the_reader_reads_well_is_read_in_parts(
    long_fleet: Any,
) -> None:
    text = planted("six pages", 0.5, num_lines=150)
    short = ask(long_fleet, FACT + "".join(filler("a page", 20)))
    assert (short.receipt.segments, short.text) == ((), "774-1093")
    parts = ask(long_fleet, text)
    assert parts.text == "774-1093"
    assert len(parts.receipt.segments) > 3
    whole = ask(long_fleet, text, overflow="refuse").receipt
    assert whole.segments == ()
    num_pages = len(list(paginate(text, preset_style("nano"))))
    assert whole.pages_encoded + whole.pages_reused == num_pages > 3


def pictured(text: str) -> Document:
    """The text's pages, and after them a picture that nobody has read."""
    out = io.BytesIO()
    Image.new("L", (112, 112), 255).save(out, "PNG")
    end = len(text)
    sheets = [
        Sheet(number=1, width=1, height=1, start=0, end=end),
        Sheet(number=2, width=112, height=112, start=end, end=end, picture=out.getvalue(),
              always=True),
    ]  # fmt: skip
    return Document.of_sheets(text, sheets, max_bytes=10**6, max_picture_bytes=10**6)


def test_a_page_that_no_part_would_have_keeps_a_document_whole_or_refuses_it(
    long_fleet: Any,
) -> None:
    fits = planted("pictured", 0.5, num_lines=150)
    whole = ask(long_fleet, pictured(fits)).receipt
    assert whole.segments == ()
    num_pages = len(list(paginate(fits, preset_style("nano"))))
    assert whole.pages_encoded + whole.pages_reused == num_pages + 1
    with pytest.raises(JobFailed, match="1 of them are pictures without text") as refused:
        ask(long_fleet, pictured(planted("pictured", 0.5)))
    assert refused.value.code == "document_too_large"


def test_a_second_question_reads_no_page_again_and_the_same_one_asks_nothing(
    long_fleet: Any,
) -> None:
    text = planted("twice", 0.3)
    first = ask(long_fleet, text).receipt
    again = ask(long_fleet, text)
    assert again.text == "774-1093"
    assert again.receipt.segments_reused == len(first.segments)
    assert again.receipt.pages_encoded == 0
    other = long_fleet.client.submit(text, "What is the code of the vault?", max_new_tokens=24)
    receipt = long_fleet.client.wait(other.id, timeout=PATIENCE_S).receipt
    assert (receipt.pages_encoded, receipt.segments_reused) == (0, 0)


def test_an_edit_reads_again_the_segments_it_touches(long_fleet: Any) -> None:
    lines = filler("edited", 900)
    lines[700] = FACT
    before = ask(long_fleet, "".join(lines)).receipt
    lines.insert(450, "one line more: somebody wrote it later\n")
    after = ask(long_fleet, "".join(lines))
    assert after.text == "774-1093"
    assert after.receipt.segments_reused >= len(before.segments) // 2
    assert after.receipt.pages_encoded < before.pages_encoded // 2


def test_a_selection_answers_a_lookup_from_few_pages(long_fleet: Any) -> None:
    text = planted("select", 0.7)
    answer = ask(long_fleet, text, overflow="select")
    assert answer.text == "774-1093"
    assert answer.citations[0].start == text.index("774-1093")
    receipt = answer.receipt
    assert receipt.overflow == "select"
    assert len(receipt.segments) in (5, 6)
    assert {one.pages for one in receipt.segments} == {1}
    starts = [one.start for one in receipt.segments[-4:]]
    assert starts == sorted(starts)


def test_refuse_refuses_with_the_numbers(long_fleet: Any) -> None:
    with pytest.raises(JobFailed, match="visual tokens") as caught:
        ask(long_fleet, planted("refuse", 0.5), overflow="refuse")
    assert caught.value.code == "document_too_large"


def test_a_cancel_ends_the_job_and_all_of_its_parts(long_fleet: Any) -> None:
    client = long_fleet.client
    job = client.submit(planted("cancel", 0.5, 1_200), QUESTION, max_new_tokens=24)
    wait_until(
        lambda: client.status(job.id).progress.num_segments_done > 0, description="a part has ended"
    )
    seen = client.status(job.id)
    assert (seen.status, seen.stage) == (JobStatus.RUNNING, "reading")
    assert seen.progress.num_segments > seen.progress.num_segments_done
    client.cancel(job.id)
    with pytest.raises(JobCancelled):
        client.wait(job.id, timeout=PATIENCE_S)
    with connect(long_fleet.settings.broker_url.get_secret_value()) as redis:
        wait_until(lambda: redis.zcard("glyph:active") == 0, description="every part has ended")
        parts = redis.keys(f"glyph:job:{job.id}.*")
        statuses = [redis.hget(part, "status") for part in parts]
    assert b"cancelled" in statuses
    assert set(statuses) <= {b"cancelled", b"succeeded"}


def test_workers_that_die_at_it_cost_no_segment_and_no_answer(long_fleet: Any) -> None:
    client = long_fleet.client
    text = planted("killed", 0.9)
    job = client.submit(text, QUESTION, max_new_tokens=24)

    def some_done(number: int) -> bool:
        return client.status(job.id).progress.num_segments_done >= number

    for number, kind in enumerate(("answer", "render"), start=1):
        wait_until(lambda number=number: some_done(number), description="a part has ended")
        for process, (started, _) in zip(long_fleet.processes, long_fleet.started, strict=True):
            if started == kind:
                long_fleet.kill(process)
        long_fleet.revive()
    answer = client.wait(job.id, timeout=PATIENCE_S)
    assert answer.text == "774-1093"
    receipt = answer.receipt
    assert {one.status for one in receipt.segments} == {"succeeded"}
    with connect(long_fleet.settings.broker_url.get_secret_value()) as redis:
        keys = redis.keys(f"glyph:job:{job.id}*")
        assert len(keys) == len(receipt.segments) + 1
        assert {redis.hget(key, "num_commits") for key in keys} == {b"1"}


def test_several_documents_are_cited_by_name_and_each_one_s_pages_are_kept_alone(
    long_fleet: Any,
) -> None:
    client = long_fleet.client
    first = "Invoice 4711\nCustomer: Ada Robotics GmbH\nTotal due: 2679.88 EUR\n"
    second = "Shipment 12\nCarrier: Orion Freight\nWeight: 310 kg\n"
    both = {"march.txt": first, "april.txt": second}
    job = client.submit(both, "Who is the carrier?", max_new_tokens=24)
    answer = client.wait(job.id, timeout=PATIENCE_S)
    assert answer.text == "Orion Freight"
    [citation] = answer.citations
    assert (citation.document, citation.page) == ("april.txt", 2)
    assert second[citation.start : citation.end] == "Orion Freight"
    assert client.status(job.id).document_names == ("march.txt", "april.txt")
    other = [("x", second), ("y", first)]
    again = client.wait(
        client.submit(other, "Who is the customer?", max_new_tokens=24).id, timeout=PATIENCE_S
    )
    assert (again.receipt.pages_encoded, again.receipt.pages_reused) == (0, 2)
    assert [one.document for one in again.citations] == ["y"]


def test_a_reader_that_weighs_is_told_the_documents_names_and_no_other(
    weighing_fleet: Any, long_fleet: Any
) -> None:
    texts = ["Invoice 4711\nCustomer: Ada Robotics GmbH\n", "Shipment 12\nCarrier: Orion\n"]
    both = dict(zip(("march.txt", "april.txt"), texts, strict=True))

    def num_prompt(fleet: Any, document: Any) -> int:
        answer = ask(fleet, document)
        return int(answer.receipt.prompt_tokens)

    one = texts[0]
    assert num_prompt(weighing_fleet, one) == num_prompt(long_fleet, one)
    told = num_prompt(weighing_fleet, both) - num_prompt(long_fleet, both)
    assert told > 10, "page 1 of 'march.txt'; page 2 of 'april.txt'"


def test_lens_lays_the_text_of_the_likeliest_pages_beside_the_question(long_fleet: Any) -> None:
    lines = filler("lens", 120)
    lines[70] = FACT
    text = "".join(lines)
    plain = ask(long_fleet, text, overflow="refuse").receipt
    seen = ask(long_fleet, text, lens=True)
    receipt = seen.receipt
    assert (plain.lens_pages, plain.lens_tokens) == ((), 0)
    assert 1 <= len(receipt.lens_pages) <= 3
    assert sorted(receipt.lens_pages) == list(receipt.lens_pages)
    pages = [laid.page for laid in paginate(text, preset_style("nano"))]
    at = text.index(FACT)
    assert next(one.index + 1 for one in pages if at < one.end) in receipt.lens_pages
    assert receipt.lens_tokens > 100
    assert abs(receipt.prompt_tokens - plain.prompt_tokens - receipt.lens_tokens) <= 2
    assert receipt.visual_tokens == plain.visual_tokens
    assert receipt.pages_encoded == 0, "the scan is the plain question's prompt"


def test_lens_of_what_does_not_fit_is_left_out(long_fleet: Any) -> None:
    text = "".join(filler("no room", 240))  # its pages fill the window
    receipt = ask(long_fleet, text, lens=True).receipt
    assert receipt.overflow == ""
    assert receipt.prompt_tokens <= 2_500
    assert len(receipt.lens_pages) <= 1


def test_a_history_longer_than_the_window_of_a_reader_that_is_given_none_is_told(
    long_fleet: Any,
) -> None:
    lines = filler("history", 60)
    lines[30] = FACT
    answer = ask(long_fleet, "".join(lines), history=[["What is the first pump?", "x" * 3_000]])
    assert answer.text == "774-1093"
    assert answer.receipt.history_unread == 1


def test_a_hundred_empty_documents_are_refused_by_the_first_one_s_name(long_fleet: Any) -> None:
    with pytest.raises(EmptyDocument, match="'empty 0', 1 of 100 documents"):
        ask(long_fleet, {f"empty {n}": "\n" for n in range(100)})
    rows = {f"note {n}": "\n" if n else "Carrier: Orion Freight\n" for n in range(100)}
    with pytest.raises(EmptyDocument, match="'note 1', 2 of 100 documents"):
        ask(long_fleet, rows)


def test_several_documents_beyond_the_window_are_cited_by_name_too(long_fleet: Any) -> None:
    rows = [(f"depot {n}", "".join(filler(f"depot {n}", 90))) for n in range(5)]
    rows[3] = ("depot 3", rows[3][1] + FACT)
    answer = ask(long_fleet, rows)
    assert answer.text == "774-1093"
    [citation] = answer.citations
    assert citation.document == "depot 3"
    assert rows[3][1][citation.start : citation.end] == "774-1093"


def test_a_reader_that_weighs_evidence_is_asked_again_about_the_passages(
    weighing_fleet: Any,
) -> None:
    lines = filler("evidence", 420)
    lines[60] = "vault code of Zephyr Station: 118-2204\n"
    lines[333] = FACT
    text = "".join(lines)
    answer = ask(weighing_fleet, text)
    receipt = answer.receipt
    assert "asked again" in receipt.reduced_by
    evidence = receipt.segments[-1]
    assert len(evidence.passages) > 1
    assert any(start <= text.index("774-1093") < end for start, end in evidence.passages)
    for citation in answer.citations:
        assert text[citation.start : citation.end] == citation.text


def test_a_document_of_any_length_is_summed_up_part_by_part(
    weighing_fleet: Any, long_fleet: Any
) -> None:
    text = planted("summary", 0.5)
    answer = ask(weighing_fleet, text, task="summarize")
    receipt = answer.receipt
    assert receipt.overflow == "summarize"
    assert "summaries" in receipt.reduced_by
    assert len(receipt.segments) > 4
    assert {one.status for one in receipt.segments} == {"succeeded"}
    again = ask(weighing_fleet, text, task="summarize").receipt
    assert again.segments_reused == len(again.segments)
    with pytest.raises(JobFailed, match="sums nothing up") as caught:
        ask(long_fleet, text, task="summarize")
    assert caught.value.code == "invalid_option"
