"""Overload, with real workers: willing jobs are drawn denser, and their receipts say so."""

from __future__ import annotations

from typing import Any

from waiting import PATIENCE_S, wait_until

from glyph_worker.store.connection import connect

DOCUMENT = "The harbour closes at nine.\n" * 40


def test_a_willing_job_is_drawn_denser_and_its_receipt_says_so(fleet: Any) -> None:
    # given: a load above the mark, for nobody answers yet
    fleet.environ["GLYPH_RENDER_STEP_DOWN_LOAD"] = "0.5"
    fleet.environ["GLYPH_RENDER_STEP_UP_LOAD"] = "0"
    fleet.start("render")
    client = fleet.client
    calm = client.submit(DOCUMENT, "When?", style="accurate", max_new_tokens=2)
    with connect(fleet.environ["GLYPH_BROKER_URL"]) as redis:
        wait_until(
            lambda: redis.hget("glyph:ladder", "steps") == b"1",
            description="a worker has seen the load",
        )
    # when
    willing = client.submit(
        DOCUMENT, "When?", style="accurate", min_quality="fast", max_new_tokens=2
    )
    strict = client.submit(
        DOCUMENT, "When?", style="accurate", min_quality="accurate", max_new_tokens=2
    )
    fleet.start("answer")
    # then
    receipts = {
        name: client.wait(job.id, timeout=PATIENCE_S).receipt
        for name, job in (("calm", calm), ("willing", willing), ("strict", strict))
    }
    assert (receipts["willing"].style, receipts["willing"].style_stepped_from) == (
        "balanced", "accurate",
    )  # fmt: skip
    assert receipts["willing"].visual_tokens < receipts["calm"].visual_tokens
    for name in ("calm", "strict"):
        assert receipts[name].style == "accurate"
        assert receipts[name].style_stepped_from == ""
