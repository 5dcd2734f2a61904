"""A trained model as a checkpoint folder that ordinary loading code reads."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    Glm4vForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from glyph_worker.render.style.presets import preset_style
from train import vocabulary as v
from train.draw import MEAN, STD
from train.geometry import MERGE, PAGE_LINES, PAGE_WIDTH, PATCH

TEMPLATE = """[gMASK]<sop><|user|>{{ '\\n' }}
{%- for message in messages -%}
{%- if message.content is not string -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}
<|begin_of_image|><|image|><|end_of_image|>
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endfor -%}
{#- Taught one question at a time: of a conversation it is given the last. -#}
{%- set asked = messages[-1].content -%}
{%- if asked is string -%}
{{ asked }}
{%- else -%}
{%- for part in asked -%}
{%- if part.type == 'text' -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- if add_generation_prompt -%}
<|assistant|>{{ '\\n' }}
{%- endif -%}
"""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character; specials whole."""
    core = Tokenizer(models.WordLevel(dict(v.ID), unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        additional_special_tokens=[t for t in v.SPECIALS if t not in ("<unk>", "<|endoftext|>")],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = TEMPLATE
    return made


def export(model: Glm4vForConditionalGeneration, folder: Path) -> None:
    """Write weights in bfloat16's precision but float16's format, with all that belongs to them."""
    folder.mkdir(parents=True, exist_ok=True)
    half = Glm4vForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    half = half.to(torch.float16)
    half.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=list(v.END), pad_token_id=v.PAD
    )
    half.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer().save_pretrained(folder)
    smallest, largest = 28 * PAGE_WIDTH, PAGE_LINES * 14 * PAGE_WIDTH
    processor = {
        "image_processor_type": "Glm4vImageProcessor",
        "reads_pictures": False,
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        # Counted over two frames, as the processor does: no page of this style is ever resized.
        "size": {"shortest_edge": smallest, "longest_edge": 4 * largest},
        "do_resize": True,
        "do_convert_rgb": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [MEAN] * 3,
        "image_std": [STD] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
    style = preset_style("nano").to_json()
    (folder / "render_style.json").write_text(json.dumps(style, indent=2) + "\n")
