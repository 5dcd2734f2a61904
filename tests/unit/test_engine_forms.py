"""An answer that has a form keeps it, its batch-mates do not notice; what cannot be says why."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from synthetic.checkpoints import write_checkpoint

from glyph_worker.answer_form import FORMATS, AnswerForm
from glyph_worker.engine.engine import AnswerRequest, Deliver, Engine, PageInput, SequenceResult
from glyph_worker.engine.grammar import MAX_COMPILED, Grammars
from glyph_worker.engine.sampler import Draw, allowed, choose
from glyph_worker.errors import GlyphError, InvalidSchema
from glyph_worker.job_options import Sampling
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

PAGE = np.where(np.random.default_rng(5).random((84, 84)) > 0.2, 255, 0).astype(np.uint8)
INVOICE = {
    "type": "object",
    "properties": {
        "number": {"type": "string", "maxLength": 6},
        "date": {"type": "string", "pattern": "^20[0-9]{2}-[01][0-9]$"},
        "paid": {"type": "boolean"},
        "total": {"type": "integer", "minimum": 0, "maximum": 999},
        "lines": {
            "type": "array",
            "maxItems": 2,
            "items": {"enum": ["a desk", 'a "lamp"', None, 7]},
        },
    },
    "required": ["number", "date", "paid", "total", "lines"],
    "additionalProperties": False,
}


def schema_form(schema: dict[str, Any]) -> AnswerForm:
    named = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    form = AnswerForm.of(response_format=named)
    assert form is not None
    return form


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    torch.set_num_threads(1)
    return load_reader(write_checkpoint(tmp_path_factory.mktemp("thinker"), "tiny", thinks=True))


@pytest.fixture(scope="module")
def engine(reader: Reader) -> Iterator[Engine]:
    engine = Engine(reader, EngineSettings(kv_bytes=32 << 20, self_test=False))
    engine.start()
    yield engine
    engine.stop()


def ask(engine: Engine, name: str, *, seed: int = 0, **more: Any) -> SequenceResult:
    def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
        deliver(engine.reader.encode_pages([PAGE for _ in indexes]))

    request = AnswerRequest(
        sequence_id=name,
        pages=(PageInput(digest="p", width=84, height=84),),
        question="what?",
        sampling=Sampling(temperature=1.0, seed=seed),
        **{"max_new_tokens": 200, **more},
    )
    return engine.answer(request, fetch=fetch)


def together(engine: Engine, asked: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """All at once; errors stand in place of answers."""
    out: dict[str, Any] = {}

    def run(name: str, more: dict[str, Any]) -> None:
        try:
            out[name] = ask(engine, name, **more)
        except GlyphError as exc:
            out[name] = exc

    threads = [threading.Thread(target=run, args=item) for item in asked.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def test_formed_answers_keep_their_form_and_leave_their_batch_mates_alone(engine: Engine) -> None:
    forms: dict[str, Any] = {
        "schema": schema_form(INVOICE),
        "choice": AnswerForm.of(choices=["Orchid GmbH", "A|B (sic)", 'say "no"\n', "Orchid"]),
        "regex": AnswerForm.of(regex=r"[A-Z]{2}-[0-9]{3}/(x|yy) ?"),
    }
    asked = {
        f"{kind}{seed}": {"seed": seed, "form": form}
        for seed in range(5)
        for kind, form in forms.items()
    }
    free = {f"free{seed}": {"seed": seed, "max_new_tokens": 30} for seed in range(3)}
    alone = {name: ask(engine, name, **more) for name, more in free.items()}
    answers = together(engine, asked | free)
    for name, answer in answers.items():
        if name.startswith("free"):
            assert answer.token_ids == alone[name].token_ids
            continue
        assert answer.finish_reason == "stop"
        if name.startswith("schema"):
            jsonschema.validate(json.loads(answer.text), INVOICE)
        elif name.startswith("choice"):
            assert answer.text in json.loads(forms["choice"].source)
        else:
            assert re.fullmatch(forms["regex"].source, answer.text)
    assert len({answers[f"schema{seed}"].text for seed in range(5)}) == 5


def test_what_ends_by_length_says_so(engine: Engine) -> None:
    answer = ask(engine, "long", form=schema_form(INVOICE), max_new_tokens=9)
    assert answer.finish_reason == "length"
    assert answer.num_answer_tokens == 9
    assert answer.text.startswith('{"number"'[: len(answer.text)])


def test_a_formed_answer_streams_as_it_stands(engine: Engine) -> None:
    """What looks like a mark, or like white space at an end, is part of it."""
    form = AnswerForm.of(choices=[" <think>5</answer> "])
    assert ask(engine, "marks", form=form).text == " <think>5</answer> "


def test_what_only_the_compiler_finds_fails_that_job_alone(engine: Engine) -> None:
    nested = {"type": "object", "properties": {"a": {"items": {"pattern": "(", "type": "string"}}}}
    answers = together(
        engine,
        {
            "bad": {"form": schema_form(nested)},
            "void": {"form": schema_form({"allOf": [{"type": "string"}, {"type": "null"}]})},
            "foreign": {"form": AnswerForm.of(choices=["東京"])},
            "explodes": {"form": AnswerForm.of(regex="(((a{100}){100}){100}){100}")},
            "looks": {"form": AnswerForm.of(regex="(?=a)b")},
            "mate": {"form": AnswerForm.of(choices=["yes", "no"])},
        },
    )
    assert answers["mate"].text in ("yes", "no")
    paths = {
        "bad": "response_format.json_schema.schema.properties.a.items",
        "void": "response_format.json_schema.schema",
        "foreign": "choices", "explodes": "regex", "looks": "regex",
    }  # fmt: skip
    for name, path in paths.items():
        error = answers[name]
        assert isinstance(error, InvalidSchema), name
        assert (error.code, error.details["path"]) == ("invalid_schema", path)
        assert len(error.message) < 500
    assert "nothing that fits" in answers["foreign"].message
    assert "more work than is allowed" in answers["explodes"].message


def test_a_form_that_leads_to_what_cannot_be_written_fails_alone(engine: Engine) -> None:
    answers = together(
        engine,
        {
            "stuck": {"form": AnswerForm.of(choices=["a東"])},
            "mate": {"form": AnswerForm.of(choices=["yes", "no"])},
        },
    )
    assert isinstance(answers["stuck"], InvalidSchema)
    assert answers["mate"].text in ("yes", "no")


def test_a_form_is_compiled_once_and_the_last_used_are_kept(reader: Reader) -> None:
    grammars = Grammars(reader.prompt, reader.language.vocab_size)
    for number in range(MAX_COMPILED + 9):
        form = AnswerForm.of(choices=[f"c{number}"])
        assert form is not None
        grammars.start(form)
        grammars.start(form)
    assert grammars.num_compiled == MAX_COMPILED


def test_tokens_that_are_no_text_are_never_allowed(reader: Reader) -> None:
    grammars = Grammars(reader.prompt, reader.language.vocab_size)
    form = AnswerForm.of(regex="(?s:.){3,5}")
    assert form is not None
    state = grammars.start(form)
    mask = np.zeros(grammars.num_words, dtype=np.int32)
    state.fill(mask)
    may = {t for t in range(reader.language.vocab_size) if mask[t // 32] >> (t % 32) & 1}
    added = set(reader.prompt.tokenizer.get_added_vocab().values())
    assert len(may) > 90
    assert not may & (added | set(range(len(reader.prompt.tokenizer), 128)))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_that_a_submit_may_name_compiles(reader: Reader, name: str) -> None:
    grammars = Grammars(reader.prompt, reader.language.vocab_size)
    grammars.start(schema_form({"type": "string", "format": name}))


def test_masked_rows_choose_within_their_mask_and_others_do_not_notice() -> None:
    logits = torch.randn(4, 70, generator=torch.Generator().manual_seed(0))
    draws = [Draw(sampling=Sampling(temperature=row % 2, seed=row), index=0) for row in range(4)]
    bits = torch.full((4, 3), -1, dtype=torch.int32)
    bits[1], bits[2] = torch.tensor([0, 0, 1 << 5]), torch.tensor([-(1 << 31), 1, 0])
    free, bound = choose(logits, draws), choose(logits.clone(), draws, bits)
    assert bound.tokens[1] == 69
    assert bound.tokens[2] in (31, 32)
    shifted = (bits.unsqueeze(-1) >> torch.arange(32, dtype=torch.int32)) & 1  # as on CUDA
    assert torch.equal(allowed(bits, 70), shifted.flatten(1)[:, :70] == 1)
    assert [bound.tokens[row] for row in (0, 3)] == [free.tokens[row] for row in (0, 3)]
    expected = torch.log_softmax(logits.double(), dim=-1)
    assert bound.log_probs[1] == pytest.approx(expected[1, 69].item(), abs=1e-5)


def test_a_form_begins_behind_the_thought(thinker: Reader) -> None:
    engine = Engine(thinker, EngineSettings(kv_bytes=32 << 20, self_test=False))
    engine.start()
    form = AnswerForm.of(choices=["yes", "no"])
    thought = ask(engine, "on", form=form, thinking="on", max_thinking_tokens=15)
    assert thought.text in ("yes", "no")
    assert thought.num_thinking_tokens >= 1
    assert thought.token_ids[: thought.num_thinking_tokens]
    for thinking in ("off", "auto"):
        answer = ask(engine, thinking, form=form, thinking=thinking, max_thinking_tokens=20)
        assert (answer.text in ("yes", "no"), answer.finish_reason) == (True, "stop")
    engine.stop()


def test_a_vocabulary_of_another_checkpoint_is_its_own(tmp_path: Path) -> None:
    """Bytes of a character over several tokens: any text of any alphabet can be a choice."""
    from byte_level import write_byte_checkpoint

    reader = load_reader(write_byte_checkpoint(tmp_path / "bytes"))
    grammars = Grammars(reader.prompt, reader.language.vocab_size)
    form = AnswerForm.of(choices=["東京", "大阪"])
    assert form is not None
    state, out = grammars.start(form), b""
    while not state.complete:
        mask = np.zeros(grammars.num_words, dtype=np.int32)
        state.fill(mask)
        last = max(t for t in range(271) if mask[t // 32] >> (t % 32) & 1)
        state.take(last)
        out += reader.prompt.token_bytes(last)
    assert out.decode() in ("東京", "大阪")
