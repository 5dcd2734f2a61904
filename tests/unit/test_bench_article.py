"""The article's table: what its rows switch, how samples become gains, bars and a README."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from glyph_worker.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "ops" / "bench"


@pytest.fixture(name="table")
def bench_rows() -> ModuleType:
    return importlib.import_module("bench.article_rows")


@pytest.fixture(name="report")
def bench_report() -> ModuleType:
    return importlib.import_module("bench.article_report")


def found(rate: float, beyond: int) -> dict[str, Any]:
    times = {"mean_ms": 1e3 / rate, "p50_ms": 1e3 / rate, "p95_ms": 2e3 / rate}
    memory = {"peak_bytes": 100 << 20, "beyond_weights_bytes": beyond << 20}
    return {"jobs_per_s": rate, **times, **memory, "visual_tokens": 56.0}


def sample(rate: float, beyond: int) -> dict[str, Any]:
    return {mix: found(rate, beyond) for mix in ("article", "long", "follow-up")}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_row_of_ours_is_made_of_the_product_s_own_settings(
    table: ModuleType, device: str
) -> None:
    rows = [row for row in table.rows(device, own_style=False) if row.peer is None]
    assert [row.name for row in rows if row.restarted] == [table.RESTARTED]
    ours = [row for row in rows if not row.restarted]
    loaded = [Settings.load(environ=dict(row.settings)) for row in ours]
    first, last = loaded[0], loaded[-1]
    assert (ours[0].name, ours[-1].name) == (table.INITIAL, table.BEST)
    assert first.engine.attention == "plain"
    assert not first.engine.prefix_sharing
    assert first.engine.max_slots == first.features.micro_batch == 1
    assert first.features.device_bytes == 0
    assert last.engine.prefix_sharing
    assert last.engine.attention == "auto"
    states = [json.dumps([row.settings, row.style, row.window], sort_keys=True) for row in ours]
    assert len(set(states)) == len(states)


def test_gain_is_the_median_of_paired_ratios_and_bars_follow(report: ModuleType) -> None:
    samples = {
        "initial state": [sample(1, 500), sample(2, 500), sample(1, 500)],
        "all": [sample(10, 100), sample(12, 100), sample(8, 100)],
    }
    said = report.conclusion(samples, "cpu")
    assert said["ratios"]["article_gain"] == 8
    assert said["bars"]["article_gain"] == {"value": 8, "target": 5.0, "met": True}
    assert said["bars"]["follow-up_gain"] == {"value": 8, "target": 9.0, "met": False}
    assert said["bars"]["memory_beyond_weights"] == {"value": 0.2, "target": 0.5, "met": True}


def test_vllm_is_a_bar_engine_against_engine_and_service_against_service(
    report: ModuleType, table: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = {
        table.BEST: [sample(9, 1)], table.RESTARTED: [sample(9.2, 1)],
        table.DIRECT: [sample(9.6, 1)], table.VLLM: [sample(10, 1)], table.SERVED: [sample(8, 1)],
    }  # fmt: skip
    bars = report.conclusion(samples, "cpu")["bars"]
    assert {name: (bar["value"], bar["met"]) for name, bar in bars.items()} == {
        "long_of_vllm_fed_directly": (0.96, True),
        "long_of_vllm_behind_celery": (1.12, True),
        "long_of_vllm_restarted": (1.15, False),
    }
    monkeypatch.delenv("PEER_VLLM_PYTHON", raising=False)
    assert not any("vLLM" in row.name for row in table.rows("cpu", own_style=False))
    monkeypatch.setenv("PEER_VLLM_PYTHON", "python")
    rows = {row.name: row.peer for row in table.rows("cpu", own_style=False)}
    assert (rows[table.VLLM], rows[table.SERVED]) == ("vllm", "vllm-served")


def test_a_table_with_one_row_yet_says_so(report: ModuleType) -> None:
    samples = {"initial state": [sample(1, 500)]}
    assert report.conclusion(samples, "cpu")["bars"] == {}
    assert "| initial state | 100 | 500 | 1000 |" in report.markdown(samples, "article")


@pytest.mark.slow
def test_one_row_runs_through_the_whole_service_and_a_slice_resumes(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = [str(BENCH / "article"), "--quick", "--model", "tiny"]
    command += ["--json", str(out), "--resume", "--repeat", "1"]
    first: Any = None
    for names in (["all"], ["all", "all, the engine fed directly"]):
        only = [word for name in names for word in ("--only", name)]
        done = subprocess.run([*command, *only], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2_000:]
        said = json.loads(done.stdout.strip().splitlines()[-1])
        assert said["num_repetitions"] == dict.fromkeys(names, 1)
        kept = json.loads(out.read_text())["samples"]
        first = first or kept["all"]
        assert kept["all"] == first, "what an earlier slice measured is not measured again"
    shown = subprocess.run([*command, "--show"], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout.strip().splitlines()[-1]) == said
    for (one,) in kept.values():
        assert all(one[mix]["jobs_per_s"] > 0 and one[mix]["peak_bytes"] > 0 for mix in one)
    assert out.with_suffix(".md").read_text().count("| all |") == 3
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_the_readme_shows_the_last_committed_run() -> None:
    (last,) = sorted((BENCH / "results").glob("*-article-cpu-*.md"))[-1:]
    text = (ROOT / "ops/docs/measured.md").read_text()
    shown = text.partition("<!-- article:begin -->\n")[2].partition("<!-- article:end -->")[0]
    assert shown == last.read_text()
