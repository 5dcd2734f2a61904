"""FP16: activations beyond its range are scaled away exactly, and the choice says why."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from family_checks import made_page, mixed_batch
from family_outliers import Weights, plant_wide_products, plant_wide_stream, worst_against
from safetensors.torch import load_file, save_file
from synthetic.families import write_family

from glyph_worker.engine.dtype_groups import FALLBACK_DTYPE, DtypeGroups
from glyph_worker.engine.selftest import self_test
from glyph_worker.model import half_precision
from glyph_worker.model.checkpoint import _half_if_safe, declared_dtype, load_reader
from glyph_worker.model.formats import cpu_formats
from glyph_worker.model.language import StepInput
from glyph_worker.model.library import library_logits
from glyph_worker.model.reader import Reader
from glyph_worker.model.scales import LARGEST, MARGIN, Scales, _fitting
from glyph_worker.setting_sections import EngineSettings

SCALED = ("glm", "qwen2_5_vl", "qwen3_vl")


def planted(folder: Path, plant: Callable[[Weights], None]) -> Path:
    path = folder / "model.safetensors"
    weights = load_file(path)
    plant(weights)
    save_file(weights, path, {"format": "pt"})
    return folder


@pytest.fixture(scope="module", params=SCALED)
def outliers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose stream and gated products leave float16's range."""
    torch.set_num_threads(1)
    folder = write_family(request.param, tmp_path_factory.mktemp("outliers") / request.param)
    planted(folder, plant_wide_stream)
    return planted(folder, plant_wide_products)


def test_planted_outliers_overflow_plain_float16_and_are_scaled_away(
    outliers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = load_reader(outliers)
    scaled = load_reader(outliers, dtype="float16")
    assert "scaled by powers of two" in scaled.format_reason
    assert worst_against(exact, scaled) < 3e-2
    self_test(scaled, EngineSettings())

    def leave(reader: Reader) -> half_precision.Verdict:
        return half_precision.Verdict(True, "left alone")

    monkeypatch.setattr("glyph_worker.model.checkpoint.make_half_safe", leave)
    plain = load_reader(outliers, dtype="float16")
    pages = [made_page(plain, 1)]
    assert not torch.isfinite(library_logits(plain, pages, "what is it?")).all()


def test_the_lane_behind_the_finite_guard_reads_scaled_weights_right(
    outliers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, scaled = load_reader(outliers), load_reader(outliers, dtype="float16")
    monkeypatch.setattr(DtypeGroups, "of", lambda self, pages: FALLBACK_DTYPE)
    assert worst_against(exact, scaled) < 0.4, "bfloat16 has three bits less than float16"
    seen: list[torch.dtype] = []
    forward = scaled.language.forward

    def spy(step: StepInput, pool: torch.Tensor) -> torch.Tensor:
        seen.extend((step.embeds.dtype, pool.dtype))
        return forward(step, pool)

    monkeypatch.setattr(scaled.language, "forward", spy)
    worst_against(exact, scaled)
    fast = "bfloat16" in cpu_formats()
    assert set(seen) == {torch.bfloat16 if fast else torch.float32, torch.bfloat16}


def test_eight_bit_weights_keep_the_scales(outliers: Path) -> None:
    reader = load_reader(outliers, dtype="float16", int8=True)
    assert reader.language.form == "int8"
    assert reader.language.parts.stream_scale < 1
    self_test(reader, EngineSettings())


@pytest.mark.parametrize("family", ["glm", "qwen3_vl", "blip2"])
def test_a_checkpoint_without_outliers_is_left_as_it_is(tmp_path: Path, family: str) -> None:
    reader = load_reader(write_family(family, tmp_path / family), dtype="float16")
    assert "as they are" in reader.format_reason
    assert reader.language.parts.stream_scale == 1
    assert mixed_batch(reader) < 0.1


def test_auto_takes_float16_where_it_is_safe_and_else_what_the_checkpoint_declares(
    outliers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(kind: torch.dtype, reason: str) -> Reader:
        reader = load_reader(outliers, dtype=str(kind).removeprefix("torch."))
        reader.format_reason = reason
        return reader

    taken = _half_if_safe(load, torch.bfloat16)
    assert taken.dtype_name == "float16"
    assert "safe here" in taken.format_reason

    refusal = half_precision.Verdict(False, "its logits are noise")
    monkeypatch.setattr("glyph_worker.model.checkpoint.make_half_safe", lambda _: refusal)
    declared = _half_if_safe(load, torch.bfloat16)
    assert declared.dtype_name == "bfloat16"
    assert "float16 is not safe (its logits are noise)" in declared.format_reason


def test_scales_are_powers_of_two_that_leave_room() -> None:
    for peak in (1.0, 65_504.0, 65_505.0, 1e6, 3.7e7):
        scale = _fitting(peak)
        assert math.log2(scale).is_integer()
        assert peak * scale <= LARGEST
        assert scale == 1 or peak * scale * 2 > LARGEST
    assert MARGIN > 1
    assert not Scales(2.0**-12, (1.0,), (1.0,)).usable


def test_a_checkpoints_own_format_is_read_wherever_it_is_stated() -> None:
    assert declared_dtype({"torch_dtype": "float16"}) == torch.float16
    assert declared_dtype({"text_config": {"dtype": "float32"}}) == torch.float32
    assert declared_dtype({}) == torch.bfloat16
