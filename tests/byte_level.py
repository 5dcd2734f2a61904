"""A checkpoint whose tokens are single bytes, so that every character is split over tokens."""

from __future__ import annotations

import json
from pathlib import Path

from endless import make_endless
from synthetic.checkpoints import (
    SHAPES,
    SPECIALS,
    as_glm,
    write_checkpoint,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from glyph_worker.render.style.presets import preset_style


def byte_tokenizer(*, thinks: bool) -> PreTrainedTokenizerFast:
    """As GLM's and Qwen's, without merges; special tokens as in our made-up checkpoints."""
    names = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = as_glm(core)
    if thinks:
        tokenizer.add_tokens([AddedToken(mark, special=False) for mark in SPECIALS[-2:]])
    return tokenizer


def write_byte_checkpoint(folder: Path, *, thinks: bool = False) -> Path:
    """Random weights and no end: its answers are odd bytes and pieces of characters."""
    shape = {**SHAPES["tiny"], "text": {**SHAPES["tiny"]["text"], "vocab_size": 271}}
    write_checkpoint(folder, shape)
    byte_tokenizer(thinks=thinks).save_pretrained(folder)
    (folder / "render_style.json").write_text(json.dumps(preset_style("nano").to_json()))
    return make_endless(folder)
