"""What is streamed of an answer, piece by piece, is the answer: for any split into tokens."""

from __future__ import annotations

import itertools
import re
import shutil
import string
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from glyph_worker.model.answer_text import TAGS, AnswerText, Words
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.reader import Reader
from glyph_worker.model.token_bytes import TokenBytes

CASES = ("总额是 9.50 元", "naïve café", "👩‍👩‍👧")
SPECIALS = ("<|user|>", "<|endoftext|>", "[gMASK]")
MARKS = Words((*TAGS, *SPECIALS))


def text_of(pieces: Sequence[bytes], **options: object) -> AnswerText:
    """An answer whose tokens stand for these bytes: token n for pieces[n]."""
    return AnswerText(pieces.__getitem__, MARKS, **options)  # type: ignore[arg-type]


def streamed(pieces: Sequence[bytes], **options: object) -> tuple[list[str], str]:
    """What was settled after each token and at the end, and the whole answer."""
    text, deltas = text_of(pieces, **options), []
    for token in range(len(pieces)):
        before = text.text
        text.feed([token])
        assert text.text.startswith(before), "what is settled stays"
        deltas.append(text.text[len(before) :])
    before = text.text
    whole = text.finish()
    deltas.append(whole[len(before) :])
    return deltas, whole


def cleaned(text: str, stop: Sequence[str] = (), *, thinking: bool = False) -> str:
    """The same by plain means, on the whole text."""
    if thinking:
        text = "<think>" + text
    text = re.sub(r"<think>.*?(</think>|\Z)", "", text, flags=re.DOTALL)
    text = re.sub(r"</answer>.*?(<answer>|\Z)", "", text, flags=re.DOTALL)
    for mark in MARKS.words:
        text = text.replace(mark, "")
    text = text.lstrip()
    ends = [(text.find(s) + len(s), text.find(s)) for s in stop if s in text]
    return (text[: min(ends)[1]] if ends else text).rstrip()


def split(raw: bytes, cuts: set[int]) -> list[bytes]:
    places = [0, *sorted(at for at in cuts if 0 < at < len(raw)), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(places)]


# Text that often holds marks, stop strings and their beginnings, and every kind of character.
PARTS = st.one_of(
    st.text(alphabet="ab <|/>\n", max_size=6),
    st.text(max_size=4),
    st.sampled_from((*CASES, *TAGS, *SPECIALS, "<|begin_of", "</thi", "brown", " fox", "\n\n")),
)
STOPS = st.lists(
    st.one_of(st.sampled_from(("brown fox", "\n\n", "ab", "abc", "元")), st.text(min_size=1)),
    max_size=4,
)


@given(
    parts=st.lists(PARTS, max_size=8),
    cuts=st.sets(st.integers(1, 200)),
    stop=STOPS,
    thinking=st.booleans(),
)
def test_deltas_of_any_split_of_any_text_join_to_the_answer(
    parts: list[str], cuts: set[int], stop: list[str], thinking: bool
) -> None:
    raw = "".join(parts).encode("utf-8", "replace")
    deltas, whole = streamed(split(raw, cuts), stop=stop, thinking=thinking)
    assert "".join(deltas) == whole
    at_once = text_of([raw], stop=stop, thinking=thinking)
    at_once.feed([0])
    assert at_once.finish() == whole, "the split does not matter"


# Without "<" in the plain parts no mark appears by the removal of another.
@given(
    parts=st.lists(st.one_of(st.text(alphabet="ab \n元", max_size=6), PARTS), max_size=8),
    stop=STOPS,
    thinking=st.booleans(),
)
def test_an_answer_is_its_text_without_thoughts_tags_and_what_follows_a_stop_string(
    parts: list[str], stop: list[str], thinking: bool
) -> None:
    joined = "".join(part for part in parts if part in MARKS.words or "<" not in part)
    joined = joined.encode("utf-8", "replace").decode()
    expected = cleaned(joined, stop, thinking=thinking)
    assert streamed([joined.encode()], stop=stop, thinking=thinking)[1] == expected


@given(raw=st.binary(max_size=40), cuts=st.sets(st.integers(1, 40)))
def test_bytes_that_are_no_text_never_break_a_stream(raw: bytes, cuts: set[int]) -> None:
    deltas, whole = streamed(split(raw, cuts))
    assert "".join(deltas) == whole


@pytest.mark.parametrize("text", CASES)
def test_a_character_cut_anywhere_is_streamed_whole(text: str) -> None:
    raw = text.encode()
    for at in range(1, len(raw)):
        deltas, whole = streamed([raw[:at], raw[at:]])
        assert whole == text
        assert not any("\ufffd" in delta for delta in deltas)
    single, whole = streamed([raw[at : at + 1] for at in range(len(raw))])
    assert whole == text
    assert sum(bool(delta) for delta in single) >= len(text.replace(" ", "")) - 1, "at each one"


def test_a_stop_string_over_two_tokens_never_leaks() -> None:
    deltas, whole = streamed([b"the quick", b" bro", b"wn f", b"ox jumps"], stop=["brown fox"])
    assert deltas == ["the quick", "", "", "", ""]
    assert whole == "the quick"
    deltas, whole = streamed([b"the brown", b" bear"], stop=["brown fox"])
    assert whole == "the brown bear", "what only began like it comes after all"


def test_an_answer_that_breaks_off_within_a_character_has_no_half_of_it() -> None:
    assert streamed([b"9.50 ", "元".encode()[:2]])[1] == "9.50"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (" 42 ", "42"),
        ("<think>let me see</think>\n<answer>42</answer>", "42"),
        ("<think>cut off", ""),
        ("<|begin_of_box|>42<|end_of_box|>", "42"),
        (
            "from <|begin_of_box|>8<|end_of_box|> to <|begin_of_box|>17<|end_of_box|>",
            "from 8 to 17",
        ),
        ("<answer>42</answer> I think", "42"),
        ("<answer>from 8</answer>\n<answer> to 17</answer>", "from 8 to 17"),
        ("42<|user|>", "42"),
        ("a < b and c > d", "a < b and c > d"),
        ("a <|begin_of_b", "a <|begin_of_b"),
    ],
)
def test_answers_are_cleaned_of_the_familys_tags(reader: Reader, raw: str, clean: str) -> None:
    assert streamed([raw.encode()])[1] == clean
    assert streamed([bytes([byte]) for byte in raw.encode()])[1] == clean
    known = reader.prompt.tokenizer(raw, add_special_tokens=False).input_ids
    if raw.isascii():
        assert reader.prompt.read_answer(known) == clean


def test_a_thought_that_the_template_opened_is_no_answer(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    template = (copy / "chat_template.jinja").read_text()
    opened = template.replace("<|assistant|>{{ '\\n' }}{%- endif", "<|assistant|><think>{%- endif")
    assert opened != template
    (copy / "chat_template.jinja").write_text(opened)
    prompt = load_reader(copy).prompt
    assert prompt.template.opens_thought
    tokens = prompt.tokenizer("so it is</think><answer>42", add_special_tokens=False).input_ids
    assert prompt.read_answer(tokens) == "42"


def byte_level(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """As GLM's and Qwen's: byte pairs over all 256 bytes, so characters are split anywhere."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, additional_special_tokens=list(SPECIALS))


def with_byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama's: words, single characters, and bytes for what the vocabulary lacks."""
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "▁quick"]
    names += [c for c in string.ascii_letters + string.digits + ".," if c not in names]
    core = Tokenizer(
        models.BPE({name: at for at, name in enumerate(names)}, [], byte_fallback=True)
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")


@pytest.mark.parametrize("make", [lambda: byte_level(CASES), with_byte_fallback])
def test_tokens_joined_as_bytes_are_what_the_tokenizer_itself_decodes(make: object) -> None:
    tokenizer = make()  # type: ignore[operator]
    table = TokenBytes(tokenizer)

    @given(st.one_of(st.sampled_from(CASES), st.text(), st.text(alphabet="the quick.,9 元")))
    def holds(text: str) -> None:
        ids = tokenizer(text.encode("utf-8", "replace").decode(), add_special_tokens=False)
        own = b"".join(table.of(one) for one in ids.input_ids).decode("utf-8", "replace")
        assert own.lstrip() == tokenizer.decode(ids.input_ids).lstrip()

    holds()


def test_special_tokens_of_a_byte_level_tokenizer_are_their_text() -> None:
    tokenizer = byte_level(CASES)
    table = TokenBytes(tokenizer)
    assert [table.of(tokenizer.convert_tokens_to_ids(name)).decode() for name in SPECIALS] == list(
        SPECIALS
    )


def test_a_long_answer_costs_each_token_the_same() -> None:
    """Bytes looked up and text searched, counted and not timed."""

    def work(num_tokens: int) -> int:
        pieces = [b" brown", b"\xe5", b"\x85\x83", b"<|", b"\n"] * (num_tokens // 5)
        text, num_searched = text_of(pieces, stop=["brown fox"]), 0
        for token in range(len(pieces)):
            text.feed([token])
            num_searched += len(text._raw) + len(text._open)
        assert text.num_tokens == num_tokens
        return num_searched

    assert work(2_000) <= 2.1 * work(1_000)
