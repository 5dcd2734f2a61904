"""The engine's answers are the library's, for any mix of questions, documents and batch-mates."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from waiting import PATIENCE_S, wait_until

from glyph_worker.document import digest
from glyph_worker.engine.engine import AnswerRequest, Deliver, Engine, PageInput, SequenceResult
from glyph_worker.errors import QuestionTooLong
from glyph_worker.model.library import library_logits
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

SIZES = [(112, 112), (140, 84), (112, 112), (84, 168)]


def make_document(seed: int, num_pages: int) -> list[Page]:
    rng = np.random.default_rng(seed)
    return [
        np.where(rng.random(SIZES[i % len(SIZES)]) > 0.1, 255, 0).astype(np.uint8)
        for i in range(num_pages)
    ]


def request_for(name: str, pages: list[Page], question: str, **options: object) -> AnswerRequest:
    return AnswerRequest(
        sequence_id=name,
        pages=tuple(
            PageInput(
                digest=digest("page", page.tobytes()), width=page.shape[1], height=page.shape[0]
            )
            for page in pages
        ),
        question=question,
        **{"max_new_tokens": 12, **options},  # type: ignore[arg-type]
    )


class Asker:
    """Asks an engine from one thread per question and counts what it had to fetch."""

    def __init__(self, reader: Reader, engine: Engine) -> None:
        self.reader = reader
        self.engine = engine
        self.fetched: list[tuple[str, int]] = []
        self.outcomes: dict[str, SequenceResult | BaseException] = {}
        self.threads: list[threading.Thread] = []

    def ask(
        self, name: str, document: str, pages: list[Page], question: str, **options: object
    ) -> None:
        request = request_for(name, pages, question, **options)

        def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
            self.fetched += [(document, index) for index in indexes]
            deliver(self.reader.encode_pages([pages[index] for index in indexes]))

        def run() -> None:
            try:
                self.outcomes[name] = self.engine.answer(request, fetch=fetch)
            except Exception as exc:  # noqa: BLE001
                self.outcomes[name] = exc

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def wait(self) -> dict[str, SequenceResult]:
        for thread in self.threads:
            thread.join(timeout=PATIENCE_S)
            assert not thread.is_alive()
        self.threads.clear()
        out: dict[str, SequenceResult] = {}
        for name, outcome in self.outcomes.items():
            if isinstance(outcome, BaseException):
                raise outcome
            out[name] = outcome
        return out


@pytest.fixture
def asker(reader: Reader) -> Iterator[Asker]:
    engine = Engine(reader, EngineSettings(kv_bytes=32 << 20, prefill_tokens=40))
    engine.start()
    yield Asker(reader, engine)
    engine.stop()


def assert_greedy(
    reader: Reader,
    pages: list[Page],
    question: str,
    outcome: SequenceResult,
    history: Sequence[tuple[str, str]] = (),
) -> None:
    """Every token is the library's best one, or as good within rounding."""
    logits = library_logits(reader, pages, question, outcome.token_ids, history=history)
    for row, token in zip(logits, outcome.token_ids, strict=False):
        assert row[token] > row.max() - 1e-3


def test_sixteen_questions_on_four_documents_are_answered_as_the_library_would(
    asker: Asker,
) -> None:
    documents = {f"d{i}": make_document(i, 3) for i in range(4)}
    for name, pages in documents.items():
        for number in range(4):
            asker.ask(f"{name}/{number}", name, pages, f"what {number}?", max_new_tokens=8 + number)

    outcomes = asker.wait()

    for key, outcome in outcomes.items():
        name, number = key.split("/")
        if outcome.finish_reason == "length":
            assert len(outcome.token_ids) == 8 + int(number)
        assert_greedy(asker.reader, documents[name], f"what {number}?", outcome)
    assert sorted(asker.fetched) == [(f"d{i}", page) for i in range(4) for page in range(3)]
    reused = [outcome.num_prefix_tokens_reused for outcome in outcomes.values()]
    assert sum(count == 0 for count in reused) == 4


def test_second_question_costs_its_own_tokens_only(asker: Asker) -> None:
    pages = make_document(1, 3)
    asker.ask("first", "d", pages, "one?")
    asker.wait()
    before = asker.engine.stats().prefill_tokens

    asker.ask("second", "d", pages, "two?")
    outcome = asker.wait()["second"]

    own = outcome.num_prompt_tokens - outcome.num_prefix_tokens_reused
    assert asker.engine.stats().prefill_tokens - before == own
    assert own == len(asker.reader.prompt.tail("two?", num_pages=3))
    assert len(asker.fetched) == 3


def test_follow_ups_share_the_document_and_the_earlier_turns(asker: Asker) -> None:
    pages, prompt = make_document(1, 3), asker.reader.prompt
    history = [("one?", "first"), ("two?", "second")]
    asker.ask("first", "d", pages, "one?")
    asker.wait()

    asker.ask("second", "d", pages, "two?", history=tuple(history[:1]))
    second = asker.wait()["second"]
    asker.ask("third", "d", pages, "three?", history=tuple(history))
    third = asker.wait()["third"]
    asker.ask("other", "d", pages, "four?", history=tuple(history))
    other = asker.wait()["other"]

    turns = [len(turn) for turn in prompt.history(history, num_pages=3)]

    def own(outcome: SequenceResult) -> int:
        return outcome.num_prompt_tokens - outcome.num_prefix_tokens_reused

    def asked(question: str) -> int:
        return len(prompt.tail(question, num_pages=3, is_first=False))

    assert own(second) == turns[0] + asked("two?")
    assert own(third) == turns[1] + asked("three?")
    assert own(other) == asked("four?")
    assert len(asker.fetched) == 3
    assert_greedy(asker.reader, pages, "two?", second, history[:1])
    assert_greedy(asker.reader, pages, "three?", third, history)
    assert_greedy(asker.reader, pages, "four?", other, history)


def test_a_conversation_of_many_turns_on_an_unread_document_is_read_whole(asker: Asker) -> None:
    pages = make_document(3, 2)
    history = tuple((f"{number}?", f"it is {number}") for number in range(40))

    asker.ask("last", "d", pages, "and now?", history=history)
    outcome = asker.wait()["last"]

    assert len(asker.fetched) == 2
    assert_greedy(asker.reader, pages, "and now?", outcome, history)


def test_history_beyond_the_window_is_refused_with_the_numbers(asker: Asker) -> None:
    pages = make_document(1, 1)
    window = asker.engine.core.entry.window_tokens
    history = (("one?", "x" * window), ("two?", "y"))
    with pytest.raises(
        QuestionTooLong, match=r"history of 2 turns needs \d+ tokens, the model's"
    ) as e:
        asker.engine.core.entry.make(
            request_for("long", pages, "three?", history=history), now=0.0, dtype_group=""
        )
    assert e.value.details["num_history_tokens"] > window
    assert "leave out its earliest turns" in e.value.message


def test_documents_that_begin_alike_share_their_first_pages(asker: Asker) -> None:
    pages = make_document(1, 4)
    other = [*pages[:2], *make_document(9, 2)]
    asker.ask("a", "d", pages, "one?")
    asker.wait()
    asker.fetched.clear()

    asker.ask("b", "d", other, "one?")
    outcome = asker.wait()["b"]

    assert asker.fetched == [("d", 2), ("d", 3)]
    assert outcome.num_prefix_tokens_reused > 0
    assert_greedy(asker.reader, other, "one?", outcome)


def test_first_pages_are_prefilled_while_the_rest_is_encoded(asker: Asker) -> None:
    pages = make_document(3, 4)
    done_before_the_rest: list[int] = []

    def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
        assert list(indexes) == [0, 1, 2, 3], "all of them at once"
        features = asker.reader.encode_pages(pages)
        deliver(features[:1])
        wait_until(
            lambda: asker.engine.stats().prefill_tokens, description="the first is prefilled"
        )
        done_before_the_rest.append(asker.engine.stats().prefill_tokens)
        deliver(features[1:])

    outcome = asker.engine.answer(request_for("a", pages, "what?"), fetch=fetch)
    assert 0 < done_before_the_rest[0] < outcome.num_prompt_tokens / 2
    assert_greedy(asker.reader, pages, "what?", outcome)


def test_each_millisecond_is_counted_once_whatever_ran_beside_it(asker: Asker) -> None:
    entry = asker.engine.core.entry
    live = entry.make(
        request_for("a", make_document(3, 2), "what?"), now=0.0, dtype_group="float32"
    )
    live.entered_at, live.first_admitted_at = 0.0, 3.0
    # Admitted with its first page, before the others; its pages are fetched again while it writes.
    live.fetches = [(1.0, 5.0), (6.0, 7.0), (9.5, 10.0)]
    live.first_token_at, live.finished_at, live.finish_reason = 9.0, 11.0, "stop"
    outcome = SequenceResult.of(live, "")
    spent = (outcome.queue_ms, outcome.fetch_ms, outcome.prefill_ms, outcome.decode_ms)
    assert spent == (1_000, 5_500, 3_000, 1_500)
