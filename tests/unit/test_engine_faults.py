"""One bad sequence fails alone; short memory shrinks steps; a lost engine settles everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from waiting import PATIENCE_S, wait_until

from glyph_worker.engine.chunk_size import CALM_STEPS
from glyph_worker.engine.engine import (
    AnswerRequest,
    Deliver,
    Engine,
    PageInput,
    SequenceProgress,
    SequenceResult,
)
from glyph_worker.engine.runner import Sampled
from glyph_worker.engine.selftest import Drive, page_inputs
from glyph_worker.engine.sequence import Fetch
from glyph_worker.engine.step_inputs import Work
from glyph_worker.errors import (
    DocumentTooLarge,
    EngineFault,
    GlyphError,
    InvalidOption,
    QuestionTooLong,
    WorkerDraining,
)
from glyph_worker.job_options import Sampling
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

PAGE = np.where(np.random.default_rng(5).random((84, 84)) > 0.2, 255, 0).astype(np.uint8)


SAMPLING = frozenset(Sampling.__dataclass_fields__)


class House:
    """An engine and callers in threads."""

    def __init__(self, reader: Reader, **settings: Any) -> None:
        self.reader = reader
        self.fatal: list[BaseException] = []
        self.engine = Engine(
            reader,
            EngineSettings.model_validate({"kv_bytes": 8 << 20, "self_test": False, **settings}),
            on_fatal=self.fatal.append,
        )
        self.results: dict[str, SequenceResult | Exception] = {}
        self.threads: dict[str, threading.Thread] = {}

    def fetch(self, indexes: Sequence[int], deliver: Deliver) -> None:
        deliver(self.reader.encode_pages([PAGE for _ in indexes]))

    def request(self, name: str, document: str = "d", pages: int = 2, **more: Any) -> AnswerRequest:
        chosen = {name: more.pop(name) for name in SAMPLING & set(more)}
        return AnswerRequest(
            sampling=Sampling(**chosen),
            sequence_id=name,
            pages=tuple(
                PageInput(digest=f"{document}{i}", width=PAGE.shape[1], height=PAGE.shape[0])
                for i in range(pages)
            ),
            **{"question": f"what about {name}?", "max_new_tokens": 6, **more},
        )

    def ask(
        self,
        name: str,
        *,
        fetch: Fetch | None = None,
        on_progress: Callable[[SequenceProgress], None] | None = None,
        **more: Any,
    ) -> None:
        def run() -> None:
            try:
                self.results[name] = self.engine.answer(
                    self.request(name, **more), fetch=fetch or self.fetch, on_progress=on_progress
                )
            except Exception as exc:  # noqa: BLE001
                self.results[name] = exc

        self.threads[name] = threading.Thread(target=run)
        self.threads[name].start()

    def wait(self, *names: str) -> dict[str, SequenceResult | Exception]:
        for name in names or tuple(self.threads):
            self.threads[name].join(timeout=PATIENCE_S)
            assert not self.threads[name].is_alive(), f"{name} still waits"
        return self.results

    def break_run(self, fault: Callable[[Work], None]) -> None:
        real = self.engine.core.runner.run

        def run(work: Work) -> list[Sampled]:
            fault(work)
            return real(work)

        self.engine.core.runner.run = run  # type: ignore[method-assign]


@pytest.fixture
def make_house(reader: Reader) -> Iterator[Callable[..., House]]:
    made: list[House] = []

    def make(**settings: Any) -> House:
        made.append(House(reader, **settings))
        return made[-1]

    yield make
    for house in made:
        house.engine.stop()


def names_in(work: Work) -> set[str]:
    return {live.request.sequence_id for live in work.decodes} | {
        live.request.sequence_id for live, _ in work.chunks
    }


def tokens(house: House, name: str) -> tuple[int, ...]:
    outcome = house.results[name]
    assert isinstance(outcome, SequenceResult), outcome
    return outcome.token_ids


@pytest.fixture(scope="module")
def undisturbed(reader: Reader) -> dict[str, tuple[int, ...]]:
    house = House(reader)
    house.engine.start()
    for number in range(6):
        house.ask(f"q{number}")
    house.wait()
    house.engine.stop()
    return {name: tokens(house, name) for name in house.results}


@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize("error", [RuntimeError("bad page"), torch.OutOfMemoryError("no room")])
def test_culprit_fails_alone_and_its_batch_mates_answer_the_same(
    make_house: Callable[..., House],
    undisturbed: dict[str, tuple[int, ...]],
    stage: str,
    error: Exception,
) -> None:
    house = make_house()

    def fault(work: Work) -> None:
        in_decode = any(live.request.sequence_id == "q3" for live in work.decodes)
        in_prefill = any(live.request.sequence_id == "q3" for live, _ in work.chunks)
        if (in_decode and stage == "decode") or (in_prefill and stage == "prefill"):
            raise error

    house.break_run(fault)
    for number in range(6):
        house.ask(f"q{number}")
    house.engine.start()
    results = house.wait()

    assert isinstance(results["q3"], EngineFault)
    for name in ("q0", "q1", "q2", "q4", "q5"):
        assert tokens(house, name) == undisturbed[name]
    stats = house.engine.stats()
    assert stats.isolations >= 1
    assert (stats.failed, stats.finished, stats.slots_used) == (1, 5, 0)
    assert house.fatal == []


def test_out_of_memory_in_prefill_halves_the_chunk_and_nobody_fails(
    make_house: Callable[..., House], undisturbed: dict[str, tuple[int, ...]]
) -> None:
    house = make_house(prefill_tokens=256)
    sizes: list[int] = []

    def fault(work: Work) -> None:
        size = sum(chunk.end - chunk.start for _, chunk in work.chunks)
        sizes.append(size)
        if size > 40:
            raise torch.OutOfMemoryError("no room for so many tokens")

    house.break_run(fault)
    house.ask("q0", max_new_tokens=6)
    house.engine.start()
    house.wait()
    assert tokens(house, "q0") == undisturbed["q0"]
    assert max(sizes) > 40
    assert house.engine.stats().prefill_chunk_tokens < 256

    house.ask("long", document="e", max_new_tokens=2 * CALM_STEPS, question="on?")
    house.wait()
    if len(tokens(house, "long")) > CALM_STEPS:  # unless the random model ended it early
        assert house.engine.stats().prefill_chunk_tokens > 32


def test_out_of_memory_in_vision_halves_the_micro_batch(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = load_reader(folder)
    real = reader.vision._encode_grid
    sizes: list[int] = []

    def tight(pages: Sequence[Page], grid: tuple[int, int]) -> Sequence[torch.Tensor]:
        sizes.append(len(pages))
        if len(pages) > 2:
            raise torch.OutOfMemoryError("no room")
        return real(pages, grid)

    monkeypatch.setattr(reader.vision, "_encode_grid", tight)
    features = reader.encode_pages([PAGE] * 7)
    assert len(features) == 7
    assert sizes[:2] == [7, 3]
    assert max(sizes[2:]) <= 3

    def hopeless(pages: Sequence[Page], grid: tuple[int, int]) -> Sequence[torch.Tensor]:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(reader.vision, "_encode_grid", hopeless)
    with pytest.raises(EngineFault, match="84 x 84 px alone"):
        reader.encode_pages([PAGE])


@pytest.mark.parametrize("num_brought", [0, 1])
def test_builder_that_fails_hands_its_document_to_the_next(
    make_house: Callable[..., House],
    undisturbed: dict[str, tuple[int, ...]],
    num_brought: int,
) -> None:
    house = make_house()
    first_in = threading.Event()

    def broken(indexes: Sequence[int], deliver: Deliver) -> None:
        deliver(house.reader.encode_pages([PAGE])[:num_brought])
        first_in.set()
        raise EngineFault("the encoder is gone")

    house.engine.start()
    house.ask("bad", fetch=broken)
    assert first_in.wait(PATIENCE_S)
    house.ask("q0")
    results = house.wait()
    assert isinstance(results["bad"], EngineFault)
    assert tokens(house, "q0") == undisturbed["q0"]


def test_features_of_another_shape_are_refused(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.engine.start()
    house.ask("bad", fetch=lambda indexes, deliver: deliver([torch.zeros(3, 7) for _ in indexes]))
    result = house.wait()["bad"]
    assert isinstance(result, EngineFault)
    assert "(3, 7), expected (9, 128)" in result.message


@pytest.mark.parametrize("num_brought", [1, 3])
def test_fewer_or_more_features_than_asked_for_are_refused(
    make_house: Callable[..., House], num_brought: int
) -> None:
    house = make_house()
    house.engine.start()
    features = house.reader.encode_pages([PAGE] * 3)

    def wrong(_: Sequence[int], deliver: Deliver) -> None:
        for one in features[:num_brought]:
            deliver([one])

    house.ask("bad", fetch=wrong)
    result = house.wait()["bad"]
    assert isinstance(result, EngineFault)
    assert f"2 page features asked for, {num_brought} brought" in result.message


def test_lost_device_settles_everybody_and_tells_the_worker(
    make_house: Callable[..., House],
) -> None:
    house = make_house()

    def fault(work: Work) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    house.break_run(fault)
    for number in range(4):
        house.ask(f"q{number}")
    house.engine.start()
    for result in house.wait().values():
        assert isinstance(result, EngineFault)
    assert len(house.fatal) == 1
    with pytest.raises(EngineFault, match="has ended itself"):
        house.engine.answer(house.request("later"), fetch=house.fetch)


def test_hanging_step_is_given_up_and_its_late_end_changes_nothing(
    make_house: Callable[..., House],
) -> None:
    house = make_house(step_timeout_s=0.2)
    release = threading.Event()
    house.break_run(lambda work: (release.wait(PATIENCE_S), None)[1])
    house.ask("q0")
    house.engine.start()
    result = house.wait()["q0"]
    assert isinstance(result, EngineFault)
    assert len(house.fatal) == 1
    assert "a step hangs" in str(house.fatal[0])
    release.set()


def test_cancel_takes_effect_within_one_step_and_frees_everything(
    make_house: Callable[..., House],
) -> None:
    house = make_house()
    steps_after: list[int] = []
    cancelled = threading.Event()

    def on_progress(progress: SequenceProgress) -> None:
        if progress.num_answer_tokens >= 2 and not cancelled.is_set():
            assert house.engine.cancel("q")
            cancelled.set()

    def step(work: Work) -> None:
        if cancelled.is_set():
            steps_after.append(1)
        elif work.decodes and len(work.decodes[0].token_ids) > 5:
            cancelled.wait(PATIENCE_S)  # or a busy machine would decode on to the end

    house.break_run(step)
    house.reader.prompt.eos_token_ids, ends = frozenset(), house.reader.prompt.eos_token_ids
    try:
        house.engine.start()
        house.ask("q", max_new_tokens=400, on_progress=on_progress)
        result = house.wait()["q"]
    finally:
        house.reader.prompt.eos_token_ids = ends
    assert isinstance(result, SequenceResult)
    assert result.finish_reason == "cancelled"
    assert result.num_answer_tokens < 400
    assert len(steps_after) <= 1
    assert not house.engine.cancel("q")
    stats = house.engine.stats()
    assert (stats.slots_used, stats.cancelled) == (0, 1)


def test_waiting_sequence_is_cancelled_at_once(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.ask("q")  # the engine's thread does not even run
    while not house.engine.cancel("q"):
        pass
    result = house.wait()["q"]
    assert isinstance(result, SequenceResult)
    assert result.finish_reason == "cancelled"


def test_callers_exception_in_progress_takes_its_sequence_out(
    make_house: Callable[..., House],
) -> None:
    house = make_house()
    house.engine.start()

    def broken(progress: SequenceProgress) -> None:
        raise ZeroDivisionError

    house.ask("bad", on_progress=broken)
    house.ask("good")
    results = house.wait()
    assert isinstance(results["bad"], ZeroDivisionError)
    assert isinstance(results["good"], SequenceResult)


def test_stop_hands_unfinished_sequences_back(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.break_run(
        lambda work: wait_until(lambda: house.engine._stopping, description="it is told to stop")
    )
    house.engine.start()
    house.ask("q", max_new_tokens=50)
    wait_until(lambda: house.engine.stats().prefilling, description="a step runs")
    house.engine.stop()
    assert isinstance(house.wait()["q"], WorkerDraining)
    with pytest.raises(WorkerDraining):
        house.engine.answer(house.request("later"), fetch=house.fetch)


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ({"max_new_tokens": 0}, InvalidOption, "max_new_tokens is 0"),
        ({"temperature": -1.0}, InvalidOption, "temperature is -1.0"),
        ({"top_p": 0.0}, InvalidOption, "top_p is 0.0"),
        ({"stop": ("",)}, InvalidOption, "stop is .* text of 1 to 200 characters"),
        ({"question": "x" * 500}, QuestionTooLong, "question needs 503 tokens"),
        ({"pages": 40}, DocumentTooLarge, "document needs 360 visual tokens"),
    ],
)
def test_bad_requests_are_refused_with_the_numbers(
    make_house: Callable[..., House], more: dict[str, Any], kind: type[GlyphError], words: str
) -> None:
    house = make_house(window_tokens=300)
    with pytest.raises(kind, match=words):
        house.engine.answer(house.request("q", **more), fetch=house.fetch)
    assert house.engine.stats().waiting == 0


def test_pool_too_small_for_a_document_says_so(
    make_house: Callable[..., House], reader: Reader
) -> None:
    house = make_house(kv_bytes=200 * 2048)
    with pytest.raises(DocumentTooLarge, match="GLYPH_ENGINE_KV_BYTES"):
        house.engine.answer(house.request("q", pages=30), fetch=house.fetch)


def test_answer_is_cut_to_the_window(make_house: Callable[..., House]) -> None:
    house = make_house(window_tokens=80)
    house.reader.prompt.eos_token_ids, ends = frozenset(), house.reader.prompt.eos_token_ids
    try:
        house.engine.start()
        house.ask("q", max_new_tokens=1_000)
        result = house.wait()["q"]
    finally:
        house.reader.prompt.eos_token_ids = ends
    assert isinstance(result, SequenceResult)
    assert result.finish_reason == "length"
    assert result.num_prompt_tokens + result.num_answer_tokens == 80
    assert result.max_new_tokens == result.num_answer_tokens, "and says what there was room for"


def test_same_name_twice_is_refused(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.ask("q")
    while not house.engine.stats().waiting:
        pass
    with pytest.raises(InvalidOption, match="running already"):
        house.engine.answer(house.request("q"), fetch=house.fetch)
    house.engine.start()
    house.wait()


# -- float16 and its fallback -----------------------------------------------------------------


@pytest.fixture(scope="module")
def half_reader(folder: Any) -> Reader:
    return load_reader(folder, dtype="float16")


def test_overflow_in_float16_starts_again_in_bfloat16_and_says_so(half_reader: Reader) -> None:
    house = House(half_reader)
    core = house.engine.core
    real = core.runner.run

    def overflow(work: Work) -> list[Sampled]:
        return [
            replace(item, finite=item.finite and item.live.scheduled.dtype_group != "float16")
            if item.live.request.sequence_id.startswith("hot")
            else item
            for item in real(work)
        ]

    core.runner.run = overflow  # type: ignore[method-assign]
    house.engine.start()
    house.ask("hot", document="hot")
    house.ask("cold", document="cold")
    results = house.wait()
    house.ask("hot again", document="hot")
    house.wait()
    house.engine.stop()

    hot, cold, again = results["hot"], results["cold"], results["hot again"]
    assert isinstance(hot, SequenceResult)
    assert isinstance(cold, SequenceResult)
    assert isinstance(again, SequenceResult)
    assert (hot.dtype, hot.fallback) == ("bfloat16", "float16 overflowed")
    assert (cold.dtype, cold.fallback) == ("float16", None)
    assert again.dtype == "bfloat16", "known by its document, not found out again"
    assert again.num_prefix_tokens_reused > 0
    assert house.engine.stats().fallbacks == 1


def test_an_overflow_is_noticed_at_its_chunk_and_not_after_the_whole_prompt(
    half_reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = half_reader.encode_pages, list[int]()

    def overflow(pages: list[Any]) -> list[torch.Tensor]:
        calls.append(len(pages))
        found = real(pages)
        return [torch.full_like(one, torch.inf) for one in found] if len(calls) == 1 else found

    monkeypatch.setattr(half_reader, "encode_pages", overflow)
    settings = EngineSettings(kv_bytes=8 << 20, prefill_tokens=12, self_test=False)
    drive = Drive(half_reader, settings)
    pages = [PAGE] * 6
    request = AnswerRequest(
        sequence_id="q", pages=page_inputs(pages, "hot"), question="what?", max_new_tokens=3
    )
    drive.add(request, pages, [20, 21, 22])
    [live] = drive.core.live.values()
    while live.fallback is None:
        assert drive.step()
    assert drive.core.counters.prefill_tokens <= 12 < live.scheduled.num_prompt_tokens
    drive.finish()
    assert drive.ended == {"q": "length"}
    assert live.scheduled.dtype_group == "bfloat16"
    assert drive.core.counters.fallbacks == 1


def test_an_overflow_within_an_answer_keeps_the_tokens_that_were_streamed(
    half_reader: Reader,
) -> None:
    house = House(half_reader)
    core = house.engine.core
    real, before = core.runner.run, list[int]()

    def overflow(work: Work) -> list[Sampled]:
        found = []
        for item in real(work):
            late = item.live.scheduled.dtype_group == "float16" and len(item.live.token_ids) == 3
            if late:
                before[:] = item.live.token_ids
            # In bfloat16 the model would say something else, and must not be asked.
            token = item.token if late or item.live.scheduled.dtype_group == "float16" else 7
            found.append(replace(item, token=token, finite=not late))
        return found

    core.runner.run = overflow  # type: ignore[method-assign]
    house.engine.start()
    house.ask("hot", document="hot")
    hot = house.wait()["hot"]
    house.engine.stop()
    assert isinstance(hot, SequenceResult)
    assert hot.fallback == "float16 overflowed"
    assert len(before) == 3
    assert list(hot.token_ids[:3]) == before
    assert set(hot.token_ids[3:]) == {7}


def test_logits_not_finite_in_float32_fail_the_job(make_house: Callable[..., House]) -> None:
    house = make_house()
    real = house.engine.core.runner.run
    house.engine.core.runner.run = lambda work: [  # type: ignore[method-assign]
        replace(item, finite=False) for item in real(work)
    ]
    house.engine.start()
    house.ask("q")
    result = house.wait()["q"]
    assert isinstance(result, EngineFault)
    assert "not finite in float32" in result.message


def test_pages_that_overflow_float16_are_encoded_in_bfloat16(
    half_reader: Reader, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = half_reader.vision._run

    def overflow(pixels: torch.Tensor, grid: Any, dtype: torch.dtype) -> torch.Tensor:
        out = real(pixels, grid, dtype)
        if dtype == torch.float16:
            out[1] = float("inf")
        return out

    monkeypatch.setattr(half_reader.vision, "_run", overflow)
    features = half_reader.encode_pages([PAGE, PAGE, PAGE])
    truth = reader.encode_pages([PAGE])[0]
    for page in features:
        assert page.dtype == torch.float16
        assert (page.float() - truth).abs().max() < 0.05 * truth.abs().max()
    assert half_reader.vision.num_fallbacks == 1
