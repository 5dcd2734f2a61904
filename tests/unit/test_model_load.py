"""Checkpoints that cannot serve are refused with a way out; good ones are named by their bytes."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from synthetic.checkpoints import SHAPES, make_config

from glyph_worker.engine.selftest import self_test
from glyph_worker.errors import ModelUnusable
from glyph_worker.model import weights
from glyph_worker.model.checkpoint import load_reader, read_processor
from glyph_worker.model.int8 import quantised
from glyph_worker.model.library import library_logits
from glyph_worker.setting_sections import EngineSettings


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.language_model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def narrow_a_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.language_model.layers.1.mlp.down_proj.weight"
    weights[name] = weights[name][:, :5].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1_000])


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: shutil.rmtree(f), "no checkpoint folder at .*GLYPH_MODEL"),
    (lambda f: (f / "config.json").unlink(), "holds no config.json"),
    (lambda f: (f / "config.json").write_text("{"), "config.json in .* cannot be read"),
    (lambda f: edit_config(f, model_type="llama"), "of the family 'llama', this worker reads"),
    (lambda f: (f / "model.safetensors").unlink(), "weights in .* cannot be loaded"),
    (truncate, "weights in .* cannot be loaded"),
    (drop_a_weight, "1 weights are missing in .*layers.1.mlp.down_proj"),
    (narrow_a_weight, "weights in .* cannot be loaded"),
    (lambda f: (f / "preprocessor_config.json").unlink(), "image processor settings"),
    (lambda f: (f / "preprocessor_config.json").write_text("[]"), "image processor settings"),
    (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer that can be read"),
    (lambda f: (f / "chat_template.jinja").write_text("{{ no() }}"), "chat template"),
    (lambda f: (f / "chat_template.jinja").write_text("plain"), "does not place pages"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS)
def test_unusable_checkpoints_are_refused_with_a_way_out(
    copy: Path, fault: Callable[[Path], object], words: str
) -> None:
    fault(copy)
    with pytest.raises(ModelUnusable, match=words):
        load_reader(copy)


def test_unknown_cuda_device_is_refused(folder: Path) -> None:
    with pytest.raises(ModelUnusable, match="cuda:77 asked for"):
        load_reader(folder, device="cuda:77")


def test_identity_covers_weights_and_config_but_not_the_path(folder: Path, copy: Path) -> None:
    first = load_reader(folder)
    assert load_reader(copy).identity == first.identity
    edit_config(copy, transformers_version="9.9", dtype="float16")
    assert load_reader(copy).identity == first.identity
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert load_reader(copy).identity != first.identity


def test_processor_digest_changes_with_every_setting(copy: Path) -> None:
    first = load_reader(copy).processor_digest
    path = copy / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    for changed in (
        {"image_mean": [0.5, 0.5, 0.5]},
        {"image_std": [0.5, 0.5, 0.5]},
        {"size": {"shortest_edge": 100, "longest_edge": 47_040_000}},
        {"do_rescale": False},
    ):
        path.write_text(json.dumps(settings | changed))
        assert load_reader(copy).processor_digest != first


def test_processor_settings_are_found_in_either_file(copy: Path) -> None:
    first = read_processor(copy)
    path = copy / "preprocessor_config.json"
    nested = {"image_processor": json.loads(path.read_text()), "processor_class": "Glm4vProcessor"}
    path.unlink()
    (copy / "processor_config.json").write_text(json.dumps(nested))
    assert read_processor(copy) == first


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_readers_pass_their_self_test(folder: Path, dtype: str) -> None:
    reader = load_reader(folder, dtype=dtype)
    assert reader.dtype_name == dtype
    self_test(reader, EngineSettings())


def test_eight_bit_weights_take_half_the_memory_and_pass_their_self_test(folder: Path) -> None:
    plain = load_reader(folder, dtype="float16")
    small = load_reader(folder, dtype="float16", int8=True)
    matrices = sum(
        matrix.weight.numel()
        for layer in plain.model.model.language_model.layers
        for matrix in (
            layer.self_attn.q_proj,
            layer.self_attn.k_proj,
            layer.self_attn.v_proj,
            layer.self_attn.o_proj,
            layer.mlp.gate_up_proj,
            layer.mlp.down_proj,
        )
    )
    matrices += plain.model.lm_head.weight.numel()
    assert plain.weights_bytes - small.weights_bytes == pytest.approx(matrices, rel=0.05)
    self_test(small, EngineSettings())
    head = small.model.lm_head
    assert small.language._head._weight.data_ptr() == head.weight.data_ptr(), "kept once"
    page = np.full((84, 84), 200, dtype=np.uint8)
    exact, rounded = (library_logits(one, [page], "what?").float() for one in (plain, small))
    assert 0.001 < ((rounded - exact).abs().max() / exact.std()).item() < 0.6


def test_eight_bit_matrices_never_stand_whole_in_16_bits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tensor at a time is read, placed and made integers of, before the next is read."""
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def counted(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal most
        alive.append(weakref.ref(weight))
        most = max(most, sum(one() is not None for one in alive))
        return quantised(weight)

    monkeypatch.setattr(weights, "quantised", counted)
    load_reader(folder, dtype="float16", int8=True)
    assert len(alive) > 8
    assert most == 1


def test_the_shapes_have_their_sizes() -> None:
    assert set(SHAPES) == {"tiny", "small", "9b"}
    real = make_config("9b")
    assert real.text_config.num_hidden_layers == 40
    assert real.text_config.rope_parameters["mrope_section"] == [8, 12, 12]
