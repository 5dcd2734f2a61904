"""Which family a checkpoint is of, or why it can be of none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.families.blip2 import BLIP2
from glyph_worker.model.families.family import Family
from glyph_worker.model.families.glm import GLM
from glyph_worker.model.families.qwen2_5_vl import QWEN2_5_VL
from glyph_worker.model.families.qwen3_vl import QWEN3_VL

FAMILIES: tuple[Family, ...] = (GLM, QWEN2_5_VL, QWEN3_VL, BLIP2)

# Architectures whose users may well try them here, and why they cannot be served.
_REFUSED = {
    "instructblip": "its page features depend on the question (the Q-Former reads it too), so no "
    "page could be encoded once for all questions",
    "instructblipvideo": "its page features depend on the question, and it is made for video",
    "blip": "it has no language model that answers about a document",
    "qwen2_vl": "its vision tower is another one than Qwen2.5-VL's",
    "qwen3_5": "its language model is a hybrid of attention and linear attention, whose state "
    "cannot be shared between questions as keys and values are",
}


def family_of(config: Mapping[str, Any], folder: Path) -> Family:
    """The family of a folder's config.json. Raises ModelUnusable, naming those that are known."""
    kind = config.get("model_type")
    for family in FAMILIES:
        if kind in family.classes:
            reason = family.refuse(config)
            if reason is not None:
                raise ModelUnusable(
                    f"{folder} is a {family.name} checkpoint that cannot be read: {reason}",
                    path=str(folder),
                    family=family.name,
                )
            return family
    why = f": {_REFUSED[kind]}" if isinstance(kind, str) and kind in _REFUSED else ""
    raise ModelUnusable(
        f"{folder} is of the family {kind!r}, this worker reads {known_names()}{why}; "
        "choose such a checkpoint (ops/docs/families.md names them)",
        path=str(folder),
        family=kind,
    )


def known_names() -> str:
    """All of them with their `model_type`s, for messages."""
    return ", ".join(f"{family.name} ({', '.join(family.classes)})" for family in FAMILIES)


def library_class(config: Mapping[str, Any], family: Family) -> Any:
    """The library's class for a configuration. Raises ModelUnusable when the library is too old."""
    import transformers

    name = family.classes[config["model_type"]]
    try:
        return getattr(transformers, name)
    except AttributeError as exc:
        raise ModelUnusable(
            f"transformers {transformers.__version__} has no {name}; "
            "pip install -U 'transformers>=5.17,<6'",
            library=transformers.__version__,
        ) from exc
