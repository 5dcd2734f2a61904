"""`doctor MODEL_FOLDER` and the planner's sizes of other families."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glyph_worker.cli.model_report import examine_model
from glyph_worker.plan.device import shipped_devices
from glyph_worker.settings import Settings

QWEN3_8B = {
    "model_type": "qwen3_vl",
    "image_token_id": 151655,
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "qwen3_vl_text", "dtype": "bfloat16", "head_dim": 128, "hidden_size": 4096,
        "intermediate_size": 12288, "max_position_embeddings": 262144, "num_attention_heads": 32,
        "num_hidden_layers": 36, "num_key_value_heads": 8, "vocab_size": 151936,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20],
                         "rope_type": "default"},
        "rope_theta": 5000000,
    },
    "vision_config": {
        "model_type": "qwen3_vl", "deepstack_visual_indexes": [8, 16, 24], "depth": 27,
        "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16,
        "num_position_embeddings": 2304, "out_hidden_size": 4096, "spatial_merge_size": 2,
    },
}  # fmt: skip


@pytest.fixture
def qwen3_8b(tmp_path: Path) -> Path:
    """A folder as it is before its weights are fetched: settings only."""
    size = {"longest_edge": 16_777_216, "shortest_edge": 65_536}
    stated = {"size": size, "patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(QWEN3_8B))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    return tmp_path


def test_a_folder_is_described_before_its_weights_are_there(qwen3_8b: Path) -> None:
    settings = Settings.model_validate({"dtype": "bfloat16"})
    found = examine_model(str(qwen3_8b), settings, slots=16, pages=10)
    said = {finding.what: finding.found for finding in found}
    assert {finding.level for finding in found} == {"ok"}
    assert said["family"] == "qwen3_vl (qwen3_vl)"
    assert said["sizes"].startswith("8.8 B parameters")
    assert "as asked for" in said["format"]
    assert said["style"] == "balanced, pages of 608 x 832 px"
    assert said["a full page"].startswith("494 visual tokens; features 16.2 MB in 4 tensors")
    assert "weights 17.5 GB" in said["memory at 16 slots"]


def test_the_format_comes_with_its_reason_and_the_window_with_its_limit(qwen3_8b: Path) -> None:
    settings = Settings.model_validate({"device": "cpu"})
    found = {f.what: f for f in examine_model(str(qwen3_8b), settings, slots=1, pages=1_000)}
    assert found["format"].found.startswith("float32: this is a CPU")
    assert found["window"].level == "note"
    assert "1000 were asked about" in found["window"].found


def test_what_is_no_checkpoint_is_a_fault_with_a_fix(tmp_path: Path) -> None:
    [finding] = examine_model(str(tmp_path), Settings(), slots=1, pages=1)
    assert (finding.level, finding.what) == ("fault", "model")
    assert finding.fix


def test_the_planner_knows_the_four_tensors_of_a_page() -> None:
    devices = shipped_devices()
    assert devices["h200-qwen3-vl-8b"].feature_bytes == 4 * devices["h200-9b"].feature_bytes
    assert 494 * devices["h200-qwen3-vl-8b"].feature_bytes == pytest.approx(16e6, rel=0.02)
