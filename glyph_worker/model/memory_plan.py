"""What a worker puts into a device's memory, planned before anything is loaded. No tensors.

Weights, a step's own needs, page features in all their places, and keys and values with what is
left. The step's part is an estimate here; the engine measures it after loading (`kv_budget`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.survey import Survey, survey
from glyph_worker.setting_sections import EngineSettings, FeatureSettings

RESERVE = 0.02
"""Share of the device left to CUDA itself: its context, graphs, library workspaces."""
SMALLEST_POOL_TOKENS = 16_384
"""A worker whose keys and values would hold less refuses to serve: 26 pages of 72 dpi."""
WANTED_POOL_TOKENS = 65_536
"""Where 16-bit weights leave less than this, a hundred pages, they become 8-bit ones."""
PUBLISH_QUEUE_BYTES = 512 << 20
"""Most fresh features on the device that wait to be published."""
PREFILL_TOKENS = 2_048
"""Of a chunk on CUDA, where the settings leave it open."""
MICRO_BATCH_PATCHES = 16_384
STEP_WIDTHS = 40
"""Numbers per token that a prefill beside an encode holds at once, in widths of the stream."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """Bytes on one device."""

    total: int
    int8: bool
    weights: int
    steps: int
    """A prefill chunk while pages are encoded."""
    features: int
    """The tier kept, those waiting for their prefill, those waiting to be published."""
    reserve: int
    kv_bytes_per_token: int

    @property
    def kv(self) -> int:
        """Keys and values: what is left, at least nothing."""
        left = self.total - self.weights - self.steps - self.features - self.reserve
        return max(0, left)

    @property
    def kv_tokens(self) -> int:
        return self.kv // self.kv_bytes_per_token

    def __str__(self) -> str:
        parts = {
            f"weights in {8 if self.int8 else 16} bits": self.weights,
            "a step": self.steps,
            "page features": self.features,
            "CUDA itself": self.reserve,
            f"keys and values of {self.kv_tokens:,} tokens": self.kv,
        }
        told = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in parts.items())
        return f"of {self.total / 2**30:.1f} GiB: {told}"


def feature_bytes(token_bytes: int, engine: EngineSettings, features: FeatureSettings) -> int:
    """Most bytes of page features on the device at once; `token_bytes` of one visual token."""
    return features.device_bytes + engine.fetch_tokens * token_bytes + PUBLISH_QUEUE_BYTES


def plan_memory(
    sizes: Survey,
    *,
    total_bytes: int,
    engine: EngineSettings,
    features: FeatureSettings,
    int8: bool,
    itemsize: int = 2,
) -> MemoryPlan:
    """Of this checkpoint on a device of so many bytes, in either form. Refuses nothing."""
    matrices = sizes.num_matrix_parameters if int8 else 0
    chunk = engine.prefill_tokens or PREFILL_TOKENS
    rows = chunk + MICRO_BATCH_PATCHES // 4
    return MemoryPlan(
        total=total_bytes,
        int8=int8,
        weights=(sizes.num_parameters - matrices) * itemsize + matrices,
        steps=rows * STEP_WIDTHS * sizes.hidden_size * itemsize,
        features=feature_bytes(sizes.feature_numbers * itemsize, engine, features),
        reserve=int(RESERVE * total_bytes),
        kv_bytes_per_token=sizes.kv_numbers * itemsize,
    )


def chosen_plan(
    sizes: Survey, *, total_bytes: int, engine: EngineSettings, features: FeatureSettings
) -> MemoryPlan:
    """8-bit weights as the settings say or, left open, where 16 bits leave too little.

    Raises ModelUnusable, with the numbers, where keys and values have no room either way.
    """
    wanted = engine.int8_weights
    forms = (False, True) if wanted == "auto" else (wanted == "true",)
    plans = [
        plan_memory(sizes, total_bytes=total_bytes, engine=engine, features=features, int8=form)
        for form in forms
    ]
    for plan in plans:
        if plan.kv_tokens >= WANTED_POOL_TOKENS:
            return plan
    best = plans[-1]
    if best.kv_tokens < SMALLEST_POOL_TOKENS:
        raise ModelUnusable(no_room(str(best), best.kv_tokens), total_bytes=total_bytes)
    return best


def no_room(plan: str, num_tokens: int) -> str:
    """What to say where keys and values have too little."""
    return (
        f"{plan}; {num_tokens:,} tokens of keys and values are too few, "
        f"{SMALLEST_POOL_TOKENS:,} at least are needed: take a larger device or a smaller "
        "checkpoint, lower GLYPH_FEATURES_DEVICE_BYTES or GLYPH_ENGINE_PREFILL_TOKENS, or set "
        "GLYPH_ENGINE_INT8_WEIGHTS=true where weights have 16 bits"
    )


def wants_int8(
    folder: Path, device: str, engine: EngineSettings, features: FeatureSettings
) -> bool:
    """Whether to load a checkpoint's language matrices in 8 bits on this device. Raises
    ModelUnusable, before anything is loaded, where it cannot be served there at all."""
    import torch

    from glyph_worker.model.checkpoint import pick_device

    place = pick_device(device)
    if place.type != "cuda":
        return engine.int8_weights == "true"
    total = torch.cuda.get_device_properties(place).total_memory
    sizes = survey(folder)
    return chosen_plan(sizes, total_bytes=total, engine=engine, features=features).int8
