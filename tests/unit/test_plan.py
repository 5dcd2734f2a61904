"""The capacity planner: what doubles, what saturates, and what the command prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from glyph_worker.cli.app import app
from glyph_worker.errors import InvalidOption
from glyph_worker.plan.capacity import Plan, Site, make_plan
from glyph_worker.plan.device import Device, find_device, shipped_devices
from glyph_worker.plan.load import Load

DEVICE = Device(
    name="round", source="a test", encode_s=1e-4, prefill_s=2e-4, decode_s=1e-3, job_s=0.01,
    feature_bytes=8_192, kv_bytes=40_960, kv_room_bytes=4e9, hour_cost=2,
)  # fmt: skip


def planned(**changes: Any) -> Plan:
    load = Load(
        **{
            "documents_per_day": 86_400, "peak": 1, "pages": 10, "page_tokens": 100, "questions": 5,
            "question_tokens": 10, "answer_tokens": 20, "prefix_hit_rate": 1, **changes,
        }
    )  # fmt: skip
    return make_plan(load, DEVICE, Site(utilisation=0.5))


def test_a_plan_worked_out_by_hand() -> None:
    plan = planned()
    # 1000 tokens encoded and prefilled, 50 of questions, 100 of answers, 5 jobs.
    assert plan.device_s_per_document == pytest.approx(0.1 + 0.2 + 0.01 + 0.1 + 0.05)
    assert plan.jobs_per_s == 5
    assert plan.answer_workers == 1  # 0.46 of a device, half of each is used
    assert plan.device_hours_per_day == pytest.approx(24 * 0.46 / 0.5)
    assert plan.cost_per_day == pytest.approx(2 * 24 * 0.46 / 0.5)
    assert plan.resident_documents == 97
    assert plan.limited_by == "prefilling pages"
    assert plan.cache_bytes == pytest.approx(3_600 * 1_000 * 8_192)


def test_hits_save_encoding_and_prefixes_save_prefilling() -> None:
    cold, warm = planned(prefix_hit_rate=0), planned()
    assert cold.device_s_per_document - warm.device_s_per_document == pytest.approx(4 * 0.2)
    known = planned(hit_rate=1)
    assert warm.device_s_per_document - known.device_s_per_document == pytest.approx(0.1)
    assert known.cache_bytes == 0
    # Each page is written once and never read on a cold day, and read instead on a known one.
    assert known.cache_bytes_per_s == pytest.approx(1_000 * 8_192)


@given(
    documents=st.floats(1, 1e10), pages=st.floats(0.5, 1_000), questions=st.floats(1, 100),
    hits=st.floats(0, 1), prefixes=st.floats(0, 1),
)  # fmt: skip
def test_more_work_never_needs_less(
    documents: float, pages: float, questions: float, hits: float, prefixes: float
) -> None:
    terms = {"pages": pages, "questions": questions, "hit_rate": hits, "prefix_hit_rate": prefixes}
    some, twice = (planned(documents_per_day=n, **terms) for n in (documents, 2 * documents))
    for name in ("answer_workers", "render_cores", "broker_shards", "cache_shards"):
        few, many = getattr(some, name), getattr(twice, name)
        assert 1 <= few <= many <= 2 * few
    assert twice.broker_bytes == pytest.approx(2 * some.broker_bytes)
    assert twice.cost_per_1000_answers == pytest.approx(some.cost_per_1000_answers)


def test_the_internet_s_load_needs_shards_on_paper() -> None:
    plan = make_plan(
        Load(documents_per_day=1e9, pages=20, hit_rate=0.3), shipped_devices()["h200-9b"], Site()
    )
    assert plan.broker_shards > 100
    assert plan.cache_shards > 100
    assert plan.answer_workers > 10_000


def test_the_command_prints_a_table_and_json() -> None:
    words = ["plan", "--documents-per-day", "100000", "--pages", "20", "--hit-rate", "0.3"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "answer workers" in shown.output
    said = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert said["load"]["hit_rate"] == 0.3
    assert said["plan"]["answer_workers"] >= 1


def test_a_device_may_come_from_a_file_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(DEVICE.model_dump_json())
    assert find_device(str(path), changes={"hour_cost": 9}).hour_cost == 9
    with pytest.raises(InvalidOption, match="devices are h200-9b"):
        find_device("abacus", changes={})
    path.write_text('{"name": "half"}')
    with pytest.raises(InvalidOption, match="describes no device"):
        find_device(str(path), changes={})
