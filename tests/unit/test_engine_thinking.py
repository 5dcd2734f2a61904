"""A thought has its own budget; when it is spent it is closed, and the answer begins."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic.checkpoints import CHAT_TEMPLATE, write_checkpoint

from glyph_worker.engine.engine import (
    AnswerRequest,
    Deliver,
    Engine,
    PageInput,
    SequenceProgress,
    SequenceResult,
)
from glyph_worker.engine.phases import Phases
from glyph_worker.errors import InvalidOption
from glyph_worker.model.answer_text import TAGS, AnswerText, Words
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.library import library_logits
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

PAGE = np.where(np.random.default_rng(5).random((84, 84)) > 0.2, 255, 0).astype(np.uint8)
END = b"<|user|>"
MARKS = Words((*TAGS, END.decode()))
BEGIN = "{%- if add_generation_prompt -%}<|assistant|>{{ '\\n' }}{%- endif -%}"
OPENED = BEGIN.replace("{{ '\\n' }}", "<think>")
SWITCHED = BEGIN.replace(
    "{%- endif", "{%- if enable_thinking is defined and not enable_thinking -%}"
    "<think>{{ '\\n\\n' }}</think>{{ '\\n\\n' }}{%- else -%}<think>{%- endif -%}{%- endif",
)  # fmt: skip


def checkpoint(folder: Path, begin: str = BEGIN, *, thinks: bool = True) -> Path:
    assert BEGIN in CHAT_TEMPLATE
    write_checkpoint(folder, "tiny", thinks=thinks)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace(BEGIN, begin))
    return folder


@pytest.fixture(scope="module", params=["by itself", "opened", "switched"])
def thinker(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    begin = {"by itself": BEGIN, "opened": OPENED, "switched": SWITCHED}[request.param]
    return load_reader(checkpoint(tmp_path_factory.mktemp("thinker"), begin))


@pytest.fixture(scope="module")
def engine(thinker: Reader) -> Iterator[Engine]:
    engine = Engine(thinker, EngineSettings(kv_bytes=8 << 20, self_test=False))
    engine.start()
    yield engine
    engine.stop()


def ask(engine: Engine, name: str, on_progress: Any = None, **more: Any) -> SequenceResult:
    def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
        deliver(engine.reader.encode_pages([PAGE for _ in indexes]))

    request = AnswerRequest(
        sequence_id=name,
        pages=(PageInput(digest="p", width=84, height=84),),
        **{"question": "what?", "max_new_tokens": 12, **more},
    )
    return engine.answer(request, fetch=fetch, on_progress=on_progress)


def test_a_spent_thought_is_closed_and_the_answer_has_all_of_its_own_tokens(engine: Engine) -> None:
    prompt = engine.reader.prompt
    answer = ask(engine, "on", thinking="on", max_thinking_tokens=9)
    assert answer.num_thinking_tokens == 9
    closing = len(prompt.closing)
    assert answer.token_ids[9 : 9 + closing] == prompt.closing
    assert answer.finish_reason == "length"
    assert answer.num_answer_tokens == 12
    assert len(answer.token_ids) == 9 + closing + 12
    assert answer.thoughts == prompt.tokenizer.decode(answer.token_ids[:9]).strip()
    assert "think" not in answer.text
    text = prompt.answer_text(thinking="on")
    text.feed(answer.token_ids)
    assert answer.text == text.finish()


def test_forced_tokens_are_computed_like_any_other(engine: Engine) -> None:
    """The answer is the library's best one, behind the thought as it was closed."""
    if not engine.reader.prompt.template.opens_thought:
        pytest.skip("the library's prompt is the template's own, which opens no thought")
    answer = ask(engine, "opened", max_thinking_tokens=4)
    logits = library_logits(engine.reader, [PAGE], "what?", answer.token_ids)
    begins = 4 + len(engine.reader.prompt.closing)
    rows = list(zip(logits, answer.token_ids, strict=False))
    for row, token in (*rows[:4], *rows[begins:]):
        assert row[token] > row.max() - 1e-3


def test_without_a_thought_the_answer_begins_at_once(engine: Engine) -> None:
    seen: list[SequenceProgress] = []
    answer = ask(engine, "off", seen.append, thinking="off", max_new_tokens=6)
    assert (answer.num_thinking_tokens, answer.thoughts) == (0, "")
    assert answer.num_answer_tokens == len(answer.token_ids) == 6
    assert {progress.stage for progress in seen} <= {"prefilling", "decoding"}


def test_thinking_is_a_stage_and_is_never_streamed(engine: Engine) -> None:
    seen: list[SequenceProgress] = []
    answer = ask(engine, "watched", seen.append, thinking="on", max_thinking_tokens=400)
    thinking = [progress for progress in seen if progress.stage == "thinking"]
    assert thinking, "the first token is told at once"
    assert all(progress.text == "" for progress in thinking)
    assert all(progress.num_answer_tokens == 0 for progress in thinking)
    assert all(answer.text.startswith(progress.text) for progress in seen)


def test_room_that_is_short_is_the_answers_before_its_thoughts(thinker: Reader) -> None:
    settings = EngineSettings(kv_bytes=8 << 20, self_test=False, window_tokens=120)
    engine = Engine(thinker, settings)
    engine.start()
    answer = ask(engine, "short", thinking="on", max_new_tokens=40)
    engine.stop()
    assert answer.num_answer_tokens == answer.max_new_tokens == 40
    assert 0 < answer.num_thinking_tokens < 60
    assert answer.num_prompt_tokens + len(answer.token_ids) <= 120


def test_prompts_share_everything_before_the_question(thinker: Reader) -> None:
    own = thinker.prompt.templates["auto"]
    for template in thinker.prompt.templates.values():
        assert (template.first_page, template.next_page) == (own.first_page, own.next_page)
    off = thinker.prompt.tail("what?", num_pages=1, thinking="off")
    end = thinker.prompt.tokenizer.convert_tokens_to_ids("</think>")
    assert off.count(end) == 1


def test_a_switch_of_the_template_closes_the_thought(tmp_path: Path) -> None:
    prompt = load_reader(checkpoint(tmp_path, SWITCHED)).prompt
    tail = prompt.tokenizer.decode(prompt.tail("what?", num_pages=1, thinking="off"))
    assert tail.endswith("<|assistant|>\n<think>\n\n</think>\n\n")
    assert prompt.thought.closing == "</think>\n\n<answer>"


def test_a_checkpoint_that_does_not_think_has_no_budget_and_refuses_to_be_told(
    tmp_path: Path,
) -> None:
    reader = load_reader(checkpoint(tmp_path, thinks=False))
    assert not reader.prompt.thinks
    assert reader.prompt.default_thinking_tokens == 0
    engine = Engine(reader, EngineSettings(kv_bytes=8 << 20, self_test=False))
    engine.start()
    assert ask(engine, "off", thinking="off").token_ids == ask(engine, "auto").token_ids
    with pytest.raises(InvalidOption, match="does not think"):
        ask(engine, "on", thinking="on")
    engine.stop()


@pytest.mark.parametrize(("stated", "expected"), [(None, 8_192), (4_000, 4_000), (32_768, 8_192)])
def test_the_budget_is_the_checkpoints_own_up_to_a_cap(
    stated: int | None, expected: int, tmp_path: Path
) -> None:
    folder = checkpoint(tmp_path)
    (folder / "generation_config.json").write_text(json.dumps({"max_new_tokens": stated}))
    assert load_reader(folder).prompt.default_thinking_tokens == expected


@pytest.mark.parametrize(
    "typed", ["<think>", "</think>a", "<answer>5</answer>", "<|user|>", "<<think>"]
)
def test_added_tokens_typed_in_a_question_are_plain_text(thinker: Reader, typed: str) -> None:
    prompt = thinker.prompt
    added = set(prompt.tokenizer.get_added_vocab().values())
    for thinking in ("auto", "on", "off"):
        harmless = prompt.tail("x" * len(typed), num_pages=1, thinking=thinking)
        tail = prompt.tail(typed, num_pages=1, thinking=thinking)
        assert len(tail) == len(harmless)
        assert [t for t in tail if t in added] == [t for t in harmless if t in added]
    assert prompt.num_question_tokens(typed) == len(typed)


# Phases alone: whatever the model chooses ---------------------------------------------------------

PIECES = [END, b"<think>", b"</think>", b"<answer>", b"</answer>", b" ", b"\n", b"so", b"5", b"a<"]
CLOSING = (2, 3)


def phases_of(max_thinking: int, max_answer: int, *, opened: bool) -> Phases:
    text = AnswerText(PIECES.__getitem__, MARKS, thinking=opened)
    return Phases(
        ends=frozenset((0,)), max_answer=max_answer, max_thinking=max_thinking, closing=CLOSING,
        opening_answer=(3,), text=text,
    )  # fmt: skip


def written(phases: Phases, chosen: Sequence[int], capacity: int) -> tuple[list[int], bool]:
    """What is taken of what the model chooses, and whether it ended by itself."""
    out: list[int] = []
    for sampled in chosen:
        token = phases.choose(sampled)
        if token is None:
            return out, True
        phases.take(token, -1.0)
        out.append(token)
        if phases.spent or len(out) >= capacity:
            break
    return out, False


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, len(PIECES) - 1), max_size=60),
    st.integers(0, 8),
    st.integers(1, 8),
    st.booleans(),
)
def test_whatever_a_model_writes_thoughts_and_answer_keep_their_budgets(
    chosen: list[int], max_thinking: int, max_answer: int, opened: bool
) -> None:
    phases = phases_of(max_thinking, max_answer, opened=opened)
    capacity = max_thinking + len(CLOSING) + max_answer
    out, by_itself = written(phases, chosen, capacity)
    assert phases.num_answer <= max_answer
    assert phases.num_answer == len(phases.log_probs)
    assert phases.num_thinking + phases.num_answer <= len(out)
    assert not (by_itself and phases.thinking), "no answer ends within its thought"
    if opened and len(out) > max_thinking + len(CLOSING):
        assert 2 in out[: max_thinking + 1], "the thought was closed in time"
    streamed = AnswerText(PIECES.__getitem__, MARKS, thinking=opened)
    streamed.feed(out)
    told = AnswerText(PIECES.__getitem__, MARKS, thinking=opened)
    deltas = []
    for token in out:
        before, thought = told.text, told.thinking
        told.feed((token,))
        deltas.append(told.text[len(before) :])
        # What was held back before a thought began may come with its mark.
        assert not (thought and told.thinking and deltas[-1]), "a thought is never told as answer"
    before = told.text
    whole = told.finish()
    assert "".join(deltas) + whole[len(before) :] == whole == streamed.finish()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(["a", "b<", " ", "\n", "{", '"', "é"]), max_size=6),
    st.lists(st.sampled_from(["</think>", "<answer>", " x ", "</answer>", "\n", "元"]), max_size=8),
    st.sets(st.integers(1, 60)),
    st.integers(0, 60),
)
def test_an_answer_with_a_form_is_streamed_as_it_stands_for_any_split(
    thought: list[str], answer: list[str], cuts: set[int], seed: int
) -> None:
    """Marks and white space are part of it: they were written by a grammar's leave."""
    head = f"<think>{''.join(thought)}</think>\n<answer>".encode()
    raw = "".join(answer).encode()
    places = [0, *sorted(at for at in cuts if 0 < at < len(raw)), len(raw)]
    pieces = [head, *(raw[a:b] for a, b in itertools.pairwise(places))]
    text = AnswerText(pieces.__getitem__, MARKS)
    deltas, at = [], 0
    for size in itertools.cycle((1, 1 + seed % 3)):
        before = text.text
        text.feed(range(at, min(at + size, len(pieces))), verbatim_from=1)
        deltas.append(text.text[len(before) :])
        at += size
        if at >= len(pieces):
            break
    before = text.text
    assert "".join(deltas) + text.finish()[len(before) :] == "".join(answer)
    assert text.thoughts == "".join(thought).strip()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<|begin_of_box|>8<|end_of_box|> to <|begin_of_box|>17<|end_of_box|> EUR", "8 to 17 EUR"),
        ("<answer>The total is <|begin_of_box|>5<|end_of_box|>.</answer>", "The total is 5."),
    ],
)
def test_every_box_and_the_prose_between_is_the_answer(raw: str, clean: str) -> None:
    for opened in ("", "<think>not <|begin_of_box|>1<|end_of_box|></think>\n"):
        pieces = [bytes([byte]) for byte in f"{opened}{raw}".encode()]
        text = AnswerText(pieces.__getitem__, MARKS)
        text.feed(range(len(pieces)))
        assert text.finish() == clean
