"""The way of a job, through real queues, real workers and a real model."""

from __future__ import annotations

from glyph_worker.job import JobStatus

DOCUMENT = "invoice number: 4711\ntotal due: 12.50 EUR\n" * 40


def test_a_job_goes_all_the_way_and_its_receipt_adds_up(fleet) -> None:
    fleet.start("render", wait=False)
    fleet.start("answer")
    job = fleet.client.submit(DOCUMENT, "What is the invoice number?", max_new_tokens=8)
    assert job.status is JobStatus.QUEUED
    answer = fleet.client.wait(job.id, timeout=60)
    print(answer)
