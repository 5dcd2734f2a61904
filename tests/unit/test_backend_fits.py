"""What vLLM would compute differently is refused before it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic.families import write_family

from glyph_worker.backends.vllm_fits import check_fits
from glyph_worker.errors import ModelUnusable
from glyph_worker.model.checkpoint import read_config
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.families.known import family_of


def fits(folder: Path, *, own_tower: bool = True) -> dict[str, Any]:
    config = read_config(folder)
    return check_fits(folder, config, family_of(config, folder), own_tower=own_tower)


@pytest.mark.parametrize("family", ["glm", "glm_ocr", "qwen2_5_vl", "qwen3_vl"])
def test_our_made_up_checkpoints_fit_as_they_are(family: str, tmp_path: Path) -> None:
    assert fits(write_family(family, tmp_path), own_tower=False) == {}


def test_biases_that_vllm_would_drop_are_refused(tmp_path: Path) -> None:
    folder = write_family("glm", tmp_path)
    config = read_config(folder)
    del config["text_config"]["attention_bias"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnusable, match="attention_bias"):
        fits(folder)


def test_the_embedded_reader_fits_with_its_sections_dealt_in_turn() -> None:
    rope = fits(checkpoint_path())["text_config"]["rope_parameters"]
    assert rope["mrope_section"] == [6, 5, 5]
    assert rope["mrope_interleaved"] is True
    assert rope["rope_theta"] == 500.0


def test_the_embedded_reader_does_not_fit_vllm_s_own_tower() -> None:
    with pytest.raises(ModelUnusable, match=r"rope_theta of 100, vLLM's by 10000"):
        fits(checkpoint_path(), own_tower=False)


def test_other_sections_than_three_or_ones_are_refused(tmp_path: Path) -> None:
    folder = write_family("glm", tmp_path)
    config = read_config(folder)
    config["text_config"]["rope_parameters"]["mrope_section"] = [1, 1, 1, 1]
    assert fits_of(folder, config)["text_config"]["rope_parameters"]["mrope_section"] == [2, 1, 1]
    config["text_config"]["rope_parameters"]["mrope_section"] = [2, 1, 1, 0]
    with pytest.raises(ModelUnusable, match="4 sections"):
        fits_of(folder, config)


def fits_of(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    return check_fits(folder, config, family_of(config, folder), own_tower=True)


def test_blip2_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="GLYPH_BACKEND=own"):
        fits(write_family("blip2", tmp_path))
