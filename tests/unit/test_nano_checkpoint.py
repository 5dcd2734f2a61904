"""The exported folder: what ordinary loading code makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from train import vocabulary as v
from train.export import TEMPLATE, tokenizer
from train.packing import Prefix, question_tokens

from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.render.style.presets import preset_style
from glyph_worker.render.style.style import Style


def test_importing_the_package_brings_no_torch() -> None:
    code = (
        "import sys; from glyph_worker.model.embedded import checkpoint_path; checkpoint_path();"
        "assert not {'torch', 'transformers', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_tokenizer_is_one_token_per_character() -> None:
    made = tokenizer()
    text = v.CHARACTERS + "\n x  y"
    ids = made(text, add_special_tokens=False).input_ids
    assert ids == v.encode(text)
    assert made.decode(ids) == text
    assert made("日", add_special_tokens=False).input_ids == [v.UNKNOWN]


def test_the_chat_template_writes_the_prompt_of_training() -> None:
    made = tokenizer()
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "What is x?"}]
    text = made.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    text = text.replace("<|image|>", "<|image|>" * 16)
    trained = [*Prefix([["a"], ["b"]]).tokens, *question_tokens("What is x?")]
    assert made(text, add_special_tokens=False).input_ids == trained


def test_the_shipped_reader_is_given_the_last_question_of_a_conversation_alone() -> None:
    shipped = (checkpoint_path() / "chat_template.jinja").read_text()
    assert shipped.strip() == TEMPLATE.strip()
    made = tokenizer()
    content = [{"type": "image"}, {"type": "text", "text": "What is x?"}]
    later = [{"role": "assistant", "content": "7"}, {"role": "user", "content": "And y?"}]
    texts = [
        made.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for messages in (
            [{"role": "user", "content": content}, *later],
            [{"role": "user", "content": [content[0], {"type": "text", "text": "And y?"}]}],
        )
    ]
    assert texts[0] == texts[1]


def test_the_shipped_files_are_small_and_name_their_style() -> None:
    folder = checkpoint_path()
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 24_000_000
    style = Style.from_json(folder / "render_style.json")
    assert style.digest == preset_style("nano").digest
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert tuple(ends) == v.END
    assert not any(Path(file).suffix == ".bin" for file in folder.iterdir())
