"""Tokens from logits: greedy, sampled, reproducible by seed alone; stop strings."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glyph_worker.engine.engine import AnswerRequest, Deliver, Engine, PageInput, SequenceResult
from glyph_worker.engine.sampler import Draw, choose, uniform
from glyph_worker.job_options import Sampling
from glyph_worker.model.library import library_logits
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

PAGE = np.where(np.random.default_rng(5).random((84, 84)) > 0.2, 255, 0).astype(np.uint8)


SAMPLING = frozenset(Sampling.__dataclass_fields__)


def draw(index: int = 0, **more: Any) -> Draw:
    return Draw(sampling=Sampling(**{"temperature": 1.0, "seed": 1, **more}), index=index)


def test_sampled_frequencies_follow_the_probabilities() -> None:
    torch.set_num_threads(1)
    probabilities = torch.tensor([0.5, 0.25, 0.15, 0.1])
    logits = probabilities.log().expand(4_000, 4)
    found = Counter(choose(logits, [draw(index) for index in range(4_000)]).tokens)
    for token, probability in enumerate(probabilities.tolist()):
        assert abs(found[token] / 4_000 - probability) < 0.03


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-8, 8), min_size=2, max_size=12),
    st.floats(0.2, 3.0),
    st.floats(0.05, 1.0),
    st.integers(0, 12),
    st.integers(0, 1_000),
)
def test_a_sampled_token_is_within_top_k_and_the_nucleus(
    values: list[float], temperature: float, top_p: float, top_k: int, seed: int
) -> None:
    logits = torch.tensor([values])
    made = choose(logits, [draw(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)])
    assert made.finite == [True]
    [token] = made.tokens
    order = torch.argsort(logits[0], descending=True, stable=True).tolist()
    rank = order.index(token)
    assert rank < (top_k or len(values))
    kept = order[: top_k or None]
    mass = torch.softmax(logits[0, kept].double() / temperature, dim=0)
    assert mass[:rank].sum() < top_p + 1e-9


def test_a_row_does_not_depend_on_its_mates() -> None:
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    draws = [draw(index=i, seed=i * 7, temperature=i % 3, top_p=0.9) for i in range(6)]
    together = choose(logits, draws)
    alone = [choose(logits[i : i + 1], draws[i : i + 1]) for i in range(6)]
    assert together.tokens == [made.tokens[0] for made in alone]
    assert together.log_probs == [made.log_probs[0] for made in alone]


def test_a_tokens_probability_is_the_models_own_whatever_the_sampling() -> None:
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)).expand(3, 40)
    draws = [draw(temperature=0.0), draw(temperature=2.0, seed=4), draw(top_k=3, top_p=0.5)]
    made = choose(logits, draws)
    expected = torch.log_softmax(logits.double(), dim=-1)
    for row, (token, log_prob) in enumerate(zip(made.tokens, made.log_probs, strict=True)):
        assert log_prob == pytest.approx(expected[row, token].item(), abs=1e-5)


def test_rows_that_are_not_finite_are_named() -> None:
    logits = torch.zeros(4, 5)
    logits[1, 2], logits[2, 0], logits[3, :2] = (
        float("nan"),
        float("inf"),
        torch.tensor([float("inf"), -float("inf")]),
    )
    assert choose(logits, [draw(temperature=0.0), draw(), draw(), draw()]).finite == [
        True,
        False,
        False,
        False,
    ]


def test_uniform_numbers_are_the_same_on_every_machine() -> None:
    assert (uniform(1, 0), uniform(9, 5)) == (0.03753077055658668, 0.21662854536516588)
    values = [uniform(9, index) for index in range(2_000)]
    assert 0.47 < sum(values) / len(values) < 0.53
    assert len(set(values)) == 2_000


@pytest.fixture
def engine(reader: Reader) -> Iterator[Engine]:
    engine = Engine(reader, EngineSettings(kv_bytes=8 << 20, self_test=False))
    engine.start()
    yield engine
    engine.stop()


def ask(engine: Engine, name: str, **more: Any) -> SequenceResult:
    def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
        deliver(engine.reader.encode_pages([PAGE for _ in indexes]))

    request = AnswerRequest(
        sequence_id=name,
        pages=(PageInput(digest="p", width=84, height=84),),
        sampling=Sampling(**{name: more.pop(name) for name in SAMPLING & set(more)}),
        **{"question": "what?", "max_new_tokens": 12, **more},
    )
    return engine.answer(request, fetch=fetch)


def test_a_seeded_answer_is_the_same_alone_and_in_company(engine: Engine) -> None:
    options = {"temperature": 1.5, "top_p": 0.95, "top_k": 50}
    alone = {seed: ask(engine, f"a{seed}", seed=seed, **options).token_ids for seed in range(4)}
    assert len(set(alone.values())) > 1, "seeds matter"
    crowd: dict[int, tuple[int, ...]] = {}

    def run(seed: int) -> None:
        crowd[seed] = ask(engine, f"b{seed}", seed=seed, **options).token_ids

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    mates = [
        threading.Thread(target=ask, args=(engine, f"m{i}"), kwargs={"question": f"no {i}?"})
        for i in range(3)
    ]
    for thread in [*threads, *mates]:
        thread.start()
    for thread in [*threads, *mates]:
        thread.join(30)
    assert crowd == alone


def test_the_answer_ends_before_a_stop_string(engine: Engine) -> None:
    whole = ask(engine, "whole", temperature=1.5, seed=3)
    assert len(whole.text) > 4
    stop = whole.text[2:4]
    cut = ask(engine, "cut", temperature=1.5, seed=3, stop=(stop, "never there"))
    assert cut.finish_reason == "stop"
    assert cut.text == whole.text[: whole.text.index(stop)].strip()
    assert cut.num_answer_tokens < whole.num_answer_tokens


def test_an_answer_carries_the_mean_and_least_probability_of_its_tokens(engine: Engine) -> None:
    answer = ask(engine, "sure", temperature=1.5, seed=3)
    assert answer.num_answer_tokens == 12
    logits = library_logits(engine.reader, [PAGE], "what?", answer.token_ids)
    expected = [
        torch.log_softmax(row.double(), dim=-1)[token].item()
        for row, token in zip(logits, answer.token_ids, strict=False)
    ]
    assert answer.mean_log_prob == pytest.approx(sum(expected) / 12, abs=1e-3)
    assert answer.min_log_prob == pytest.approx(min(expected), abs=1e-3)


def test_receipt_counts_add_up(engine: Engine) -> None:
    first = ask(engine, "first")
    second = ask(engine, "second")
    assert first.num_visual_tokens == second.num_visual_tokens == 9
    assert first.num_prefix_tokens_reused == 0
    assert second.num_prefix_tokens_reused == 9 + len(engine.reader.prompt.page_lead(0))
    assert second.num_question_tokens == len("what?")
    assert second.prefill_ms > 0
    assert second.queue_ms >= 0
    assert second.dtype == "float32"
