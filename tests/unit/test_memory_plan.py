"""What a worker puts on a device is planned whole; what does not fit is refused with numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from synthetic.checkpoints import make_config, write_checkpoint, write_processor_config

from glyph_worker.engine.core import EngineCore
from glyph_worker.engine.kv_budget import FreeMemory, planned_kv_bytes
from glyph_worker.errors import ModelUnusable
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.memory_plan import (
    SMALLEST_POOL_TOKENS,
    WANTED_POOL_TOKENS,
    chosen_plan,
    feature_bytes,
    plan_memory,
    wants_int8,
)
from glyph_worker.model.survey import Survey, survey
from glyph_worker.setting_sections import EngineSettings, FeatureSettings

DOCS = Path(__file__).resolve().parents[2] / "ops" / "docs"
GIB = 1 << 30
ENGINE, FEATURES = EngineSettings(), FeatureSettings()


@pytest.fixture(scope="module")
def nine_billion(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    """Of the real model's settings: nothing is loaded."""
    folder = tmp_path_factory.mktemp("9b")
    make_config("9b").save_pretrained(folder)
    write_processor_config(folder)
    return survey(folder)


@pytest.mark.parametrize(("gib", "int8"), [(24, True), (48, False), (80, False), (141, False)])
def test_a_device_of_so_many_gigabytes_serves_a_hundred_pages(
    nine_billion: Survey, gib: int, int8: bool
) -> None:
    plan = chosen_plan(nine_billion, total_bytes=gib * GIB, engine=ENGINE, features=FEATURES)
    assert plan.int8 == int8
    assert plan.kv_tokens >= WANTED_POOL_TOKENS
    parts = plan.weights + plan.steps + plan.features + plan.reserve + plan.kv
    assert parts == gib * GIB, "every byte is planned"


def test_a_device_without_room_for_keys_and_values_is_refused_with_the_numbers(
    nine_billion: Survey,
) -> None:
    with pytest.raises(ModelUnusable, match=r"of 14\.0 GiB: weights in 8 bits 1\d\.\d.*needed"):
        chosen_plan(nine_billion, total_bytes=14 * GIB, engine=ENGINE, features=FEATURES)


def test_every_place_of_page_features_is_planned(nine_billion: Survey) -> None:
    token_bytes = nine_billion.feature_numbers * 2
    planned = feature_bytes(token_bytes, ENGINE, FEATURES)
    assert planned == FEATURES.device_bytes + 65_536 * 8_192 + (512 << 20)


def test_eight_bits_are_taken_where_they_are_needed_and_as_they_are_asked_for(
    nine_billion: Survey,
) -> None:
    def plan(gib: int, **engine: Any) -> bool:
        settings = EngineSettings.model_validate(engine)
        found = chosen_plan(nine_billion, total_bytes=gib * GIB, engine=settings, features=FEATURES)
        return found.int8

    assert plan(24)
    assert not plan(80)
    assert plan(80, int8_weights=True)
    with pytest.raises(ModelUnusable, match="weights in 16 bits"):
        plan(24, int8_weights=False)


def test_the_docs_table_says_what_is_planned(nine_billion: Survey) -> None:
    text = (DOCS / "operating.md").read_text()
    for gib in (24, 48, 80, 141):
        for int8 in (False, True):
            plan = plan_memory(
                nine_billion, total_bytes=gib * GIB, engine=ENGINE, features=FEATURES, int8=int8
            )
            too_few = plan.kv_tokens < SMALLEST_POOL_TOKENS
            row = " | ".join(
                [
                    f"| {gib}", "8" if int8 else "16", f"{plan.weights / GIB:.1f}",
                    f"{plan.steps / GIB:.1f}", f"{plan.features / GIB:.1f}",
                    f"{plan.reserve / GIB:.1f}", f"{plan.kv / GIB:.1f}",
                    "refused |" if too_few else f"{plan.kv_tokens // 630:,} |",
                ]
            )  # fmt: skip
            assert row in text, row


def test_what_is_left_after_loading_is_measured_and_refused_with_numbers() -> None:
    per_token = 40_960

    def left(gib: float, asked: int = 0) -> int:
        return planned_kv_bytes(
            FreeMemory(free=int(gib * GIB), total=24 * GIB),
            asked=asked,
            peak=GIB,
            feature_bytes=2 * GIB,
            bytes_per_token=per_token,
        )

    assert left(12) == pytest.approx((12 - 1.25 - 0.48 - 2) * GIB, rel=1e-3)
    assert left(12, asked=GIB) == GIB
    with pytest.raises(ModelUnusable, match=r"10\.0 GiB\) does not fit: of 24\.0 GiB 12\.0 are"):
        left(12, asked=10 * GIB)
    with pytest.raises(ModelUnusable, match=r"which leaves 0\.3; [\d,]+ tokens .* too few"):
        left(4)


def test_a_pool_that_holds_no_page_is_refused(folder: Path) -> None:
    reader = load_reader(folder)
    with pytest.raises(ModelUnusable, match=r"GLYPH_ENGINE_KV_BYTES=2048 holds \d+ tokens"):
        EngineCore(reader, EngineSettings(kv_bytes=2_048), settle=lambda *_: None)


def test_a_checkpoint_is_refused_for_a_device_before_it_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated = {"bytes": GIB}
    monkeypatch.setattr(
        "glyph_worker.model.checkpoint.pick_device", lambda name: torch.device("cuda", 0)
    )
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda place: SimpleNamespace(total_memory=simulated["bytes"]),
    )
    with pytest.raises(ModelUnusable, match=r"of 1\.0 GiB"):
        wants_int8(folder, "cuda", ENGINE, FEATURES)
    simulated["bytes"] = 8 * GIB
    assert not wants_int8(folder, "cuda", ENGINE, FEATURES)


def test_the_cpu_takes_eight_bits_only_when_asked(folder: Path) -> None:
    assert not wants_int8(folder, "cpu", ENGINE, FEATURES)
    for given in ("true", True):
        asked = EngineSettings.model_validate({"int8_weights": given})
        assert wants_int8(folder, "cpu", asked, FEATURES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"), "tiny")
