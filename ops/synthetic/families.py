"""Random-weight checkpoints of the other families, for tests and benchmarks. None answers sense.

Small, with what the published ones have of their own: Qwen2.5-VL's flat configuration and tied
head, Qwen3-VL's wide heads, three depths and interleaved axes, BLIP-2's prompt without a template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from synthetic.checkpoints import CHARACTERS, SHAPES, enliven, write_checkpoint
from synthetic.tokenizers import (
    OPT_SPECIALS,
    OPT_WORDS,
    QWEN2_5_TEMPLATE,
    QWEN3_TEMPLATE,
    QWEN_SPECIALS,
    made_tokenizer,
)

CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}

WIDTHS: dict[str, dict[str, int]] = {
    # By family 1 to 2 M parameters, and 15 to 35 M.
    "tiny": {"hidden": 128, "wide": 352, "layers": 4, "heads": 4, "kv": 2, "seen": 64, "depth": 4},
    "small": {
        "hidden": 512,
        "wide": 1536,
        "layers": 8,
        "heads": 8,
        "kv": 2,
        "seen": 256,
        "depth": 4,
    },
}


def write_family(family: str, path: str | Path, size: str = "tiny", *, seed: int = 0) -> Path:
    """Write a loadable checkpoint folder of a family; returns its path.

    `family` is `glm`, `glm_ocr`, `qwen2_5_vl`, `qwen3_vl` or `blip2`; `size` `tiny` or `small`.
    """
    if family == "glm":
        return write_checkpoint(path, size, seed=seed)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    _WRITERS[family](folder, WIDTHS[size], seed)
    return folder


def _save(folder: Path, config: Any, name: str, seed: int) -> None:
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = getattr(transformers, name)(config)
        for key, weight in model.named_parameters():
            # Learned tables and queries are zero, or nearly, at birth.
            if weight.ndim > 1 and (key.endswith("query_tokens") or "embedding" in key):
                torch.nn.init.normal_(weight, std=0.3)
    finally:
        torch.random.set_rng_state(state)
    enliven(model, seed=seed, gain=3.0)
    model.save_pretrained(folder)


def _write_processor(folder: Path, **settings: Any) -> None:
    stated = {"do_rescale": True, "do_normalize": True, "do_resize": True, **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated, indent=2))


def _glm_ocr(folder: Path, width: dict[str, int], seed: int) -> None:
    sizes = "tiny" if width is WIDTHS["tiny"] else "small"
    write_checkpoint(folder, sizes, seed=seed)  # its tokenizer and settings
    base = json.loads((folder / "config.json").read_text())
    text = {
        key: base["text_config"][key] for key in ("vocab_size", "rope_parameters", "pad_token_id")
    }
    text["rope_parameters"] = text["rope_parameters"] | {
        "partial_rotary_factor": 1.0,
        "mrope_section": [2 * part for part in text["rope_parameters"]["mrope_section"]],
    }
    shape = SHAPES[sizes]
    config = transformers.GlmOcrConfig(
        text_config={
            **shape["text"],
            **text,
            "head_dim": width["hidden"] // width["heads"],
            "max_position_embeddings": 65_536,
        },
        vision_config={
            "depth": shape["vision"]["depth"],
            "hidden_size": shape["vision"]["hidden_size"],
            "num_heads": shape["vision"]["num_heads"],
            "intermediate_size": 2 * shape["vision"]["hidden_size"],
            "out_hidden_size": width["hidden"],
        },
        tie_word_embeddings=False,
        **{key: base[key] for key in base if key.endswith("token_id")},
    )
    _save(folder, config, "GlmOcrForConditionalGeneration", seed)


def _qwen_ids() -> dict[str, int]:
    ids = {token: index for index, token in enumerate(QWEN_SPECIALS)}
    return {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }


def _sections(num_pairs: int, shares: tuple[int, int, int]) -> list[int]:
    """A published proportion of time, height and width, scaled to so many pairs."""
    height = num_pairs * shares[1] // sum(shares)
    width = num_pairs * shares[2] // sum(shares)
    return [num_pairs - height - width, height, width]


def _text_sizes(width: dict[str, int]) -> dict[str, int]:
    return {
        "vocab_size": 128,
        "hidden_size": width["hidden"],
        "intermediate_size": width["wide"],
        "num_hidden_layers": width["layers"],
        "num_attention_heads": width["heads"],
        "num_key_value_heads": width["kv"],
    }


def _qwen2_5_vl(folder: Path, width: dict[str, int], seed: int) -> None:
    pairs = width["hidden"] // width["heads"] // 2
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **_text_sizes(width),
            "max_position_embeddings": 65_536,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1_000_000.0,
                "mrope_section": _sections(pairs, (16, 24, 24)),
            },
            "bos_token_id": 0,
            "eos_token_id": QWEN_SPECIALS.index("<|im_end|>"),
        },
        vision_config={
            "depth": width["depth"],
            "hidden_size": width["seen"],
            "intermediate_size": 5 * width["seen"] // 2,
            "num_heads": 4,
            "out_hidden_size": width["hidden"],
            "fullatt_block_indexes": [1, 3],
        },
        tie_word_embeddings=True,
        **_qwen_ids(),
    )
    _save(folder, config, "Qwen2_5_VLForConditionalGeneration", seed)
    _flatten(folder)
    made_tokenizer(
        QWEN_SPECIALS,
        ends="<|im_end|>",
        pad="<|endoftext|>",
        template=QWEN2_5_TEMPLATE,
        starts=None,
    ).save_pretrained(folder)
    _write_processor(
        folder,
        image_processor_type="Qwen2VLImageProcessor",
        patch_size=14,
        temporal_patch_size=2,
        merge_size=2,
        min_pixels=3_136,
        max_pixels=12_845_056,
        **CLIP,
    )


def _flatten(folder: Path) -> None:
    """State the text half as the published Qwen2.5-VL configurations do."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    for key in ("layer_types", "model_type", "dtype", "sliding_window"):
        text.pop(key, None)
    config = text | config
    config["vision_config"]["model_type"] = "qwen2_5_vl"
    config["vision_config"].pop("rope_parameters", None)
    config["rope_theta"] = rope["rope_theta"]
    config["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    path.write_text(json.dumps(config, indent=2))


def _qwen3_vl(folder: Path, width: dict[str, int], seed: int) -> None:
    head_dim = 2 * width["hidden"] // width["heads"]  # wider than hidden / heads, as in 2B and 4B
    config = transformers.Qwen3VLConfig(
        text_config={
            **_text_sizes(width),
            "head_dim": head_dim,
            "max_position_embeddings": 65_536,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
                "mrope_section": _sections(head_dim // 2, (24, 20, 20)),
                "mrope_interleaved": True,
            },
        },
        vision_config={
            "depth": width["depth"],
            "hidden_size": width["seen"],
            "intermediate_size": 4 * width["seen"],
            "num_heads": 4,
            "out_hidden_size": width["hidden"],
            "num_position_embeddings": 144,
            "deepstack_visual_indexes": [0, 1, 2],
        },
        tie_word_embeddings=False,
        **_qwen_ids(),
    )
    _save(folder, config, "Qwen3VLForConditionalGeneration", seed)
    made_tokenizer(
        QWEN_SPECIALS, ends="<|im_end|>", pad="<|endoftext|>", template=QWEN3_TEMPLATE, starts=None
    ).save_pretrained(folder)
    _write_processor(
        folder,
        image_processor_type="Qwen2VLImageProcessor",
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        size={"shortest_edge": 3_136, "longest_edge": 16_777_216},
        **HALF,
    )


def _blip2(folder: Path, width: dict[str, int], seed: int) -> None:
    config = transformers.Blip2Config(
        vision_config={
            "hidden_size": width["seen"],
            "intermediate_size": 4 * width["seen"],
            "num_hidden_layers": width["depth"],
            "num_attention_heads": 4,
            "initializer_range": 0.02,
        },
        qformer_config={
            "hidden_size": width["seen"],
            "intermediate_size": 2 * width["seen"],
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "vocab_size": 128,
        },
        text_config={
            "model_type": "opt",
            "vocab_size": 128,
            "hidden_size": width["hidden"],
            "word_embed_proj_dim": width["hidden"],
            "ffn_dim": width["wide"],
            "num_hidden_layers": width["layers"],
            "num_attention_heads": width["heads"],
            "max_position_embeddings": 2_048,
            # Of the published checkpoints: an answer ends with its line.
            "eos_token_id": len(OPT_SPECIALS) + CHARACTERS.index("\n"),
            "pad_token_id": OPT_SPECIALS.index("<pad>"),
            "bos_token_id": OPT_SPECIALS.index("</s>"),
        },
        image_token_index=OPT_SPECIALS.index("<image>"),
        num_query_tokens=32,
    )
    _save(folder, config, "Blip2ForConditionalGeneration", seed)
    made_tokenizer(
        OPT_SPECIALS, ends="</s>", pad="<pad>", template=None, starts="</s>", words=OPT_WORDS
    ).save_pretrained(folder)
    _write_processor(
        folder,
        image_processor_type="BlipImageProcessor",
        size={"height": 224, "width": 224},
        **CLIP,
    )


_WRITERS: dict[str, Callable[[Path, dict[str, int], int], None]] = {
    "glm_ocr": _glm_ocr,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "blip2": _blip2,
}
