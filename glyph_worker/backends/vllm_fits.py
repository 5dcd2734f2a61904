"""Would vLLM compute what the checkpoint says? Where it would not, it says so to nobody; we do.

Found by comparing answers of vLLM 0.32 with transformers'. Reads config.json and the names of
weights; loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.families.family import Family

VISION_THETA = 10_000.0
"""vLLM's, for every tower, whatever the checkpoint says."""


def check_fits(
    folder: Path, config: Mapping[str, Any], family: Family, *, own_tower: bool
) -> dict[str, Any]:
    """What vLLM must be told beside config.json (its `hf_overrides`).

    `own_tower`: pages come as features of our tower, not through vLLM's. Raises ModelUnusable for
    what it would compute differently, with the reason.
    """
    if family.name == "blip2":
        raise _refused(folder, "vLLM takes no page features of BLIP-2", "GLYPH_BACKEND=own")
    text = config.get("text_config") or config
    if (
        family.name == "glm"
        and config.get("model_type") != "glm_ocr"
        and not text.get("attention_bias")
        and _has_biases(folder)
    ):
        raise _refused(
            folder,
            "vLLM drops the biases of queries, keys and values, because text_config of its "
            "config.json lacks attention_bias",
            'write "attention_bias": true there (the digest of the checkpoint changes with it)',
        )
    vision = config.get("vision_config") or {}
    theta = (vision.get("rope_parameters") or {}).get("rope_theta", vision.get("rope_theta"))
    if not own_tower and theta not in (None, VISION_THETA):
        raise _refused(
            folder,
            f"its vision tower turns patches by a rope_theta of {theta:g}, vLLM's by "
            f"{VISION_THETA:g} whatever is said",
            "GLYPH_BACKEND=vllm, which encodes pages by our own tower, or GLYPH_BACKEND=own",
        )
    return _sections(folder, text)


def _sections(folder: Path, text: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary sections as vLLM knows them: three, in blocks or dealt in turn."""
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    stated = rope.get("mrope_section")
    if stated is None or len(stated) <= 3:
        return {}
    if set(stated) != {1}:
        raise _refused(
            folder,
            f"its rotary frequencies are dealt to time, rows and columns in {len(stated)} sections "
            f"({stated}), and vLLM knows three",
            "GLYPH_BACKEND=own",
        )
    # One frequency each in turn: what vLLM calls interleaved.
    dealt = [len(stated[axis::3]) for axis in range(3)]
    turned = {**rope, "mrope_section": dealt, "mrope_interleaved": True}
    return {"text_config": {"rope_parameters": turned}}


def _has_biases(folder: Path) -> bool:
    from safetensors import safe_open

    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            if any(name.endswith("q_proj.bias") for name in weights.keys()):  # noqa: SIM118
                return True
    return False


def _refused(folder: Path, why: str, fix: str) -> ModelUnusable:
    return ModelUnusable(
        f"vLLM would not compute what {folder} says: {why}; {fix}", path=str(folder)
    )
