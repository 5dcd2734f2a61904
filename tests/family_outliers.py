"""Checkpoints whose activations leave float16's range, and how far FP16 is off on them."""

from __future__ import annotations

import torch
from family_checks import Scenario

from glyph_worker.model.library import library_logits
from glyph_worker.model.reader import Reader

Weights = dict[str, torch.Tensor]


def plant_wide_stream(weights: Weights) -> None:
    """What is added to the stream 1,500 times as large, one number of it 20 times more still."""
    sandwich = any("post_mlp_layernorm" in name for name in weights)
    ends = ("post_self_attn_layernorm.weight", "post_mlp_layernorm.weight")
    for name, weight in weights.items():
        if name.endswith(ends if sandwich else ("o_proj.weight", "down_proj.weight")) and (
            "visual" not in name
        ):
            weight.mul_(1_500)
            weight[5].mul_(20)


def plant_wide_products(weights: Weights) -> None:
    """Gated products 30,000 times as large in one layer, and the same function of the input."""
    for name, weight in weights.items():
        if "layers.2.mlp" not in name:
            continue
        if name.endswith("gate_up_proj.weight"):
            weight[weight.shape[0] // 2 :].mul_(30_000)
        elif name.endswith("up_proj.weight"):
            weight.mul_(30_000)
        elif name.endswith("down_proj.weight"):
            weight.div_(30_000)


def worst_against(expected: Reader, found: Reader) -> float:
    """Largest difference of the engine's logits in standard deviations of the library's."""
    scenario = Scenario(found, prefill_tokens=16, max_slots=3)
    scenario.ask("a", [1, 2, 4], "what is it?", [30, 40, 50])
    scenario.ask("b", [1, 5], "and what else?", [31, 41, 51])
    scenario.drive.finish()
    worst = 0.0
    for name, (pages, question, answer) in scenario.asked.items():
        wanted = library_logits(expected, pages, question, answer)
        got = torch.stack(scenario.drive.logits[name])
        worst = max(worst, ((got - wanted).abs().max() / wanted.std()).item())
    return worst
