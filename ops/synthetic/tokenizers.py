"""Tokenizers and chat templates of the made checkpoints: a letter a token, a family's own marks."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from synthetic.checkpoints import CHARACTERS

QWEN_SPECIALS = (
    "<|endoftext|>",
    "<unk>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<think>",
    "</think>",
)
OPT_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<image>")
OPT_WORDS = ("Question", " Answer")
"""One token each in OPT's own vocabulary: a frame of letters would be four times as long as it is,
where the other families' frames are special tokens."""

_SYSTEM = """{%- if messages[0].role != 'system' -%}
<|im_start|>system{{ '\\n' }}You are a helpful assistant.<|im_end|>{{ '\\n' }}
{%- endif -%}
"""
_TURNS = """{%- for message in messages -%}
<|im_start|>{{ message.role }}{{ '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for item in message.content -%}
{%- if item.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif item.type == 'text' -%}{{ item.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}
"""
QWEN2_5_TEMPLATE = _SYSTEM + _TURNS
"""Qwen2.5-VL states a system turn where the caller has none; Qwen3-VL does not."""
QWEN3_TEMPLATE = _TURNS


def made_tokenizer(
    specials: tuple[str, ...],
    *,
    ends: str,
    pad: str,
    template: str | None,
    starts: str | None,
    words: tuple[str, ...] = (),
) -> PreTrainedTokenizerFast:
    """One token per printable ASCII character and word, with a family's special tokens."""
    vocabulary = {token: index for index, token in enumerate((*specials, *CHARACTERS, *words))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("|".join((*words, r"[\s\S]"))), "isolated")
    core.decoder = decoders.Fuse()
    if starts is not None:
        core.post_processor = processors.TemplateProcessing(
            single=f"{starts} $A", special_tokens=[(starts, vocabulary[starts])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        pad_token=pad,
        eos_token=ends,
        bos_token=starts,
        additional_special_tokens=[one for one in specials if one not in ("<unk>", pad, ends)],
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
