"""Random-weight Glm4v checkpoints of any size, for tests and benchmarks. Never answers sense."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from train import vocabulary
from transformers import Glm4vConfig, Glm4vForConditionalGeneration, PreTrainedTokenizerFast

from glyph_worker.model.checkpoint import read_processor
from glyph_worker.model.families.glm import GLM
from glyph_worker.model.int8 import make_int8
from glyph_worker.model.prompt import Prompt
from glyph_worker.model.reader import Reader

SPECIALS = (*vocabulary.SPECIALS, "<think>", "</think>")
ORDINARY_SPECIALS = SPECIALS[2:-2]
"""Of a checkpoint that does not think: its vocabulary has the marks, its tokenizer finds none."""
THINKING_MARKS = (*SPECIALS[-2:], "<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>")
"""Added tokens, no special ones, of GLM-4.1V-Thinking and of Glyph."""
CHARACTERS = "\n" + "".join(sorted(set(string.printable) - set("\t\n\r\x0b\x0c")))

CHAT_TEMPLATE = """[gMASK]<sop>
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
<|assistant|>{{ '\\n' }}{{ message.content }}
{%- else -%}
<|{{ message.role }}|>{{ '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for item in message.content -%}
{%- if item.type == 'image' -%}<|begin_of_image|><|image|><|end_of_image|>
{%- elif item.type == 'text' -%}{{ item.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{{ '\\n' }}{%- endif -%}
"""

Shape = dict[str, dict[str, Any]]

SHAPES: dict[str, Shape] = {
    # 1.2 M parameters
    "tiny": {
        "text": {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
                 "num_attention_heads": 4, "num_key_value_heads": 2},
        "vision": {"depth": 2, "hidden_size": 96, "num_heads": 4, "intermediate_size": 352},
    },
    # 34 M parameters
    "small": {
        "text": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
                 "num_attention_heads": 8, "num_key_value_heads": 2},
        "vision": {"depth": 4, "hidden_size": 384, "num_heads": 6, "intermediate_size": 1536},
    },
    # The real thing, without its vocabulary: 9 B parameters
    "9b": {
        "text": {"hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40,
                 "num_attention_heads": 32, "num_key_value_heads": 2, "vocab_size": 151552},
        "vision": {"depth": 24, "hidden_size": 1536, "num_heads": 12, "intermediate_size": 13696},
    },
}  # fmt: skip


def make_config(shape: str | Shape, *, max_positions: int = 65_536) -> Glm4vConfig:
    """A `Glm4vConfig` of a named shape, or of one given as {"text": …, "vision": …}."""
    sizes = SHAPES[shape] if isinstance(shape, str) else shape
    ids = {token: index for index, token in enumerate(SPECIALS)}
    text = {"vocab_size": 128, "max_position_embeddings": max_positions, **sizes["text"]}
    head_dim = text["hidden_size"] // text["num_attention_heads"]
    half = head_dim // 4  # rotary pairs at partial_rotary_factor 0.5
    # The real checkpoint's proportion of time, height and width: 8, 12, 12.
    time = half // 4
    height = (half - time) // 2
    text.setdefault(
        "rope_parameters",
        {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.5,
            "mrope_section": [time, height, half - time - height],
        },
    )
    text.setdefault("pad_token_id", ids["<|endoftext|>"])
    # The library has these biases whatever is said; vLLM drops them where this is not said.
    text.setdefault("attention_bias", True)
    vision = {"out_hidden_size": text["hidden_size"], "image_size": 336, **sizes["vision"]}
    return Glm4vConfig(
        text_config=text,
        vision_config=vision,
        image_start_token_id=ids["<|begin_of_image|>"],
        image_token_id=ids["<|image|>"],
        image_end_token_id=ids["<|end_of_image|>"],
        video_start_token_id=ids["<|begin_of_video|>"],
        video_token_id=ids["<|video|>"],
        video_end_token_id=ids["<|end_of_video|>"],
        eos_token_id=[ids["<|endoftext|>"], ids["<|user|>"]],
        tie_word_embeddings=False,
    )


def as_glm(core: Tokenizer) -> PreTrainedTokenizerFast:
    """A tokenizer with the family's special tokens and chat template."""
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        additional_special_tokens=list(ORDINARY_SPECIALS),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_tokenizer(*, thinks: bool = False) -> PreTrainedTokenizerFast:
    """One token per printable ASCII character, with the family's special tokens; `thinks`: with the
    marks of thoughts and answers as well."""
    vocabulary = {token: index for index, token in enumerate((*SPECIALS, *CHARACTERS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = as_glm(core)
    if thinks:
        tokenizer.add_tokens([AddedToken(mark, special=False) for mark in THINKING_MARKS])
    return tokenizer


def write_checkpoint(
    path: str | Path,
    size: str | Shape = "tiny",
    *,
    seed: int = 0,
    gain: float = 3.0,
    max_positions: int = 65_536,
    thinks: bool = False,
) -> Path:
    """Write a loadable checkpoint folder with random weights; returns its path.

    `gain` multiplies every matrix of the initial weights: at the library's own scale all logits
    are nearly equal and a test that compares them proves little.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = Glm4vForConditionalGeneration(make_config(size, max_positions=max_positions))
    finally:
        torch.random.set_rng_state(state)
    enliven(model, seed=seed, gain=gain)
    model.save_pretrained(folder)
    make_tokenizer(thinks=thinks).save_pretrained(folder)
    write_processor_config(folder)
    return folder


def make_reader(
    size: str | Shape,
    folder: str | Path,
    *,
    device: str = "cuda",
    dtype: torch.dtype = torch.float16,
    int8: bool = False,
    seed: int = 0,
) -> Reader:
    """A Reader with random weights made on the device: 9 B parameters in seconds, none on disk.

    Only the tokenizer and the settings are written to `folder`.
    """
    place = Path(folder)
    config = make_config(size)
    config.save_pretrained(place)
    make_tokenizer().save_pretrained(place)
    write_processor_config(place)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(seed)
        with torch.device(device):
            model = Glm4vForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    finally:
        torch.set_default_dtype(before)
    enliven(model, seed=seed, gain=1.0)
    model.eval().requires_grad_(False)
    if int8:
        make_int8(model, GLM.language(model))
    return Reader(
        model=model,
        form="int8" if int8 else "plain",
        folder=place,
        identity=f"random-{seed}",
        processor=read_processor(place),
        prompt=Prompt(
            place,
            image_token_id=config.image_token_id,
            eos_token_ids=(),
            end_words=GLM.end_words,
        ),
        family=GLM,
    )


def enliven(model: Glm4vForConditionalGeneration, *, seed: int, gain: float) -> None:
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1 and gain != 1:
                weight.mul_(gain)
        # Biases are zero at birth: a forward that forgot them would pass every test.
        generator = torch.Generator().manual_seed(seed + 1)
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32) * 0.1
                noise = noise.to(weight)
                weight.add_(noise if name.endswith("bias") else noise * weight)


def write_processor_config(folder: Path) -> None:
    """The image processor's settings, as the real checkpoint has them."""
    settings = {
        "image_processor_type": "Glm4vImageProcessor",
        "do_rescale": True,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 12_544, "longest_edge": 47_040_000},
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))
