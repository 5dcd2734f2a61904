"""Makes a made-up checkpoint never end its answer by itself."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from synthetic.checkpoints import make_config

from glyph_worker.model.families.glm import GLM
from glyph_worker.model.prompt import Prompt


def make_endless(folder: Path) -> Path:
    """Returns the folder.

    The first number of every token's embedding outweighs what the layers add to it, and only the
    heads of the end tokens look at it.
    """
    prompt = Prompt(
        folder,
        image_token_id=make_config("tiny").image_token_id,
        eos_token_ids=(),
        end_words=GLM.end_words,
    )
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["model.language_model.embed_tokens.weight"][:, 0] = 1_000.0
    head = weights["lm_head.weight"]
    head[:, 0] = 0.0
    for token in prompt.eos_token_ids:
        head[token] = 0.0
        head[token, 0] = -1_000.0
    save_file(weights, file, metadata={"format": "pt"})
    return folder
