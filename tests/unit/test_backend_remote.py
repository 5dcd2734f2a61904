"""A server that is busy, breaks off, refuses or goes away; and a job on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.openai_server import MODEL, OpenAiServer
from waiting import wait_until

from glyph_worker.answer_form import AnswerForm
from glyph_worker.backends.own import OwnBackend
from glyph_worker.backends.remote import RemoteBackend
from glyph_worker.backends.remote_request import chat_request
from glyph_worker.backends.remote_stream import Stream
from glyph_worker.engine.sequence import AnswerRequest, PageInput
from glyph_worker.errors import EngineFault, InvalidOption, InvalidSetting, ModelUnusable
from glyph_worker.features.types import PageRequest
from glyph_worker.job_options import Sampling
from glyph_worker.model.prompt import Prompt
from glyph_worker.model.reader import Reader
from glyph_worker.settings import Settings

SIZE = (168, 112)


def settings_of(folder: Path, **remote: Any) -> Settings:
    settings = Settings.load(
        environ={},
        model=str(folder),
        device="cpu",
        backend="remote" if remote else "own",
        off="self_test",
        engine={"kv_bytes": 32 << 20, "window_tokens": 2_048},
        remote=remote,
    )
    patience = {"connect_timeout_s": 1.0, "patience_s": 2.0}
    return settings.model_copy(update={"remote": settings.remote.model_copy(update=patience)})


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[OpenAiServer]:
    own = OwnBackend(settings_of(folder), None, on_fatal=lambda exc: None)
    server = OpenAiServer(own)
    yield server
    server.close()
    own.stop()


class Asker:
    def __init__(self, folder: Path, url: str, **remote: Any) -> None:
        self.ends: list[BaseException] = []
        settings = settings_of(folder, url=url, **remote)
        self.backend = RemoteBackend(settings, on_fatal=self.ends.append)

    def ask(self, question: str, **options: Any) -> str:
        width, height = SIZE
        pixels = np.full((height, width), 200, dtype=np.uint8)
        digest = self.backend.recipe.salted("tenant").feature_digest("page")
        answered = self.backend.answer(
            AnswerRequest(
                sequence_id=question,
                pages=(PageInput(digest=digest, width=width, height=height),),
                question=question,
                **{"max_new_tokens": 8, **options},
            ),
            [PageRequest(page_digest="page", width=width, height=height, pixels=lambda: pixels)],
            salt="tenant",
            on_progress=lambda _: None,
            check=lambda: None,
        )
        return answered.result.text


@pytest.fixture
def asker(folder: Path, server: OpenAiServer) -> Iterator[Asker]:
    asker = Asker(folder, server.url)
    yield asker
    asker.backend.stop()


def test_a_busy_server_is_asked_again_and_answers_once(asker: Asker, server: OpenAiServer) -> None:
    before = server.num_answered
    server.num_busy = 2
    assert asker.ask("busy?")
    # It counts an answer once its connection is closed.
    wait_until(lambda: server.num_answered > before, description="the answer is counted")
    assert server.num_answered == before + 1


def test_an_answer_that_breaks_off_is_a_fault_and_no_answer(
    asker: Asker, server: OpenAiServer
) -> None:
    server.breaks = True
    try:
        with pytest.raises(EngineFault):
            asker.ask("broken?", max_new_tokens=500)
    finally:
        server.breaks = False
    assert not asker.ends  # the server is there: another try may end well
    assert asker.ask("whole?")


def test_what_the_server_refuses_fails_the_job_with_its_words(
    asker: Asker, server: OpenAiServer
) -> None:
    with server.refusing(400), pytest.raises(InvalidOption, match="not like that"):
        asker.ask("refused?")


def test_a_key_that_is_refused_ends_the_worker(asker: Asker, server: OpenAiServer) -> None:
    with server.refusing(401), pytest.raises(EngineFault, match="401"):
        asker.ask("who?")
    assert len(asker.ends) == 1


def test_a_server_that_is_gone_ends_the_worker_and_hands_its_jobs_on(
    folder: Path, server: OpenAiServer
) -> None:
    other = OpenAiServer(server.backend)
    asker = Asker(folder, other.url)
    other.close()
    with pytest.raises(EngineFault, match="is gone"):
        asker.ask("gone?")
    assert len(asker.ends) == 1
    asker.backend.stop()


def test_pages_are_named_by_salted_digests(asker: Asker, server: OpenAiServer) -> None:
    asker.ask("named?")
    named = server.uuids[-1]
    assert named == asker.backend.recipe.salted("tenant").feature_digest("page")
    assert named != asker.backend.recipe.salted("another").feature_digest("page")


def test_a_server_without_the_model_is_refused_at_start(folder: Path, server: OpenAiServer) -> None:
    with pytest.raises(ModelUnusable, match=MODEL):
        Asker(folder, server.url, model="another")


def test_without_a_url_it_says_which_setting(folder: Path) -> None:
    with pytest.raises(InvalidSetting, match="GLYPH_REMOTE_URL"):
        RemoteBackend(settings_of(folder, dialect="openai"), on_fatal=lambda exc: None)


def test_an_openai_server_is_sent_nothing_that_it_does_not_know() -> None:
    request = AnswerRequest(
        sequence_id="a", pages=(PageInput(digest="d", width=1, height=1),), question="q?",
        sampling=Sampling(top_k=3), form=AnswerForm.of(choices=["x"]), thinking="off", priority=1,
    )  # fmt: skip
    plain, rich = (
        chat_request(request, ["png"], model="m", dialect=one, max_tokens=5, priorities=True)
        for one in ("openai", "vllm")
    )
    own = {"top_k", "priority", "structured_outputs", "chat_template_kwargs", "return_token_ids"}
    assert not own & plain.keys()
    assert own <= rich.keys()
    assert "uuid" not in plain["messages"][0]["content"][0]
    assert rich["messages"][0]["content"][0]["uuid"] == "d"


class _Seen:
    """An Asked, as far as a stream writes to it."""

    def __init__(self) -> None:
        self.token_ids: list[int] = []
        self.num_thinking = self.num_answer = 0
        self.num_prompt = self.num_reused = 0
        self.log_probs: list[float] = []
        self.thoughts: str | None = None
        self.text: Any = None

    def grew(self) -> None:
        """Nobody watches."""


def stream_of(
    prompt: Prompt, *deltas: dict[str, Any], max_answer: int = 99, **options: Any
) -> tuple[Stream, _Seen]:
    request = AnswerRequest(sequence_id="a", pages=(), question="q?", **options)
    stream = Stream(prompt, request, max_answer=max_answer)
    seen = _Seen()
    for delta in deltas:
        choice = delta if "delta" in delta else {"delta": delta}
        if stream.take({"choices": [choice]}, seen) is not None:  # type: ignore[arg-type]
            break
    stream.settle(seen)  # type: ignore[arg-type]
    return stream, seen


def test_thoughts_in_the_text_are_no_part_of_the_answer(reader: Reader) -> None:
    stream, seen = stream_of(
        reader.prompt, {"content": "<think>so"}, {"content": "</think><answer>4"}, {"content": "2"}
    )
    assert stream.text.finish() == "42"
    assert stream.text.thoughts == "so"
    assert seen.num_answer >= 1


def test_thoughts_that_the_server_tells_apart_are_kept_apart(reader: Reader) -> None:
    stream, seen = stream_of(
        reader.prompt, {"reasoning_content": "so "}, {"reasoning": "then"}, {"content": "42"}
    )
    assert stream.text.finish() == "42"
    assert seen.thoughts == "so then"


def test_a_stop_string_ends_the_answer_before_it(reader: Reader) -> None:
    stream, _ = stream_of(reader.prompt, {"content": "one; t"}, {"content": "wo"}, stop=("; ",))
    assert stream.text.finish() == "one"
    assert stream.text.stopped


def test_an_error_within_a_stream_is_a_fault(reader: Reader) -> None:
    request = AnswerRequest(sequence_id="a", pages=(), question="q?")
    stream = Stream(reader.prompt, request, max_answer=9)
    with pytest.raises(EngineFault, match="out of memory"):
        stream.take({"error": {"message": "out of memory"}}, _Seen())  # type: ignore[arg-type]


def test_an_answer_has_its_own_budget_beside_its_thoughts(reader: Reader) -> None:
    tokens = [{"content": f"{number} "} for number in range(9)]
    stream, seen = stream_of(
        reader.prompt, {"content": "<think>so"}, {"content": "</think>"}, *tokens, max_answer=4
    )
    assert stream.text.finish() == "0 1 2 3"
    assert (seen.num_thinking, seen.num_answer) == (2, 4)


def named(prompt: Prompt, *words: str, said: str = "", **more: Any) -> dict[str, Any]:
    """An event of a server that names its tokens."""
    ids = [token for word in words for token in prompt.tokenizer.encode(word)]
    log_probs = [{"token": "?", "logprob": -float(number)} for number in range(len(ids))]
    return {
        "delta": {"content": said},
        "token_ids": ids,
        "logprobs": {"content": log_probs},
        **more,
    }


def test_tokens_that_the_servers_text_leaves_out_count_as_ours_do(reader: Reader) -> None:
    prompt = reader.prompt
    end = min(prompt.eos_token_ids)
    last = named(prompt, "c", said="c")
    last["token_ids"].append(end)
    last["logprobs"]["content"].append({"token": "", "logprob": -9.0})
    events = (named(prompt, "a", said="a"), named(prompt, "[gMASK]"), named(prompt, "b"), last)
    stream, seen = stream_of(prompt, *events)
    assert stream.text.finish() == "abc"
    assert end not in seen.token_ids
    assert len(seen.token_ids) == seen.num_answer == len(seen.log_probs) == 4

    stream, seen = stream_of(prompt, *events, max_answer=2)
    assert (stream.text.finish(), len(seen.token_ids), seen.num_answer) == ("a", 2, 2)


def test_thoughts_that_are_named_by_their_tokens_are_no_part_of_the_answer(reader: Reader) -> None:
    prompt = reader.prompt
    stream, seen = stream_of(
        prompt,
        # A server with a parser of thoughts shows them elsewhere; their tokens tell the same.
        named(prompt, "<think>"),
        named(prompt, "so") | {"delta": {"reasoning": "so"}},
        named(prompt, "</think>"),
        named(prompt, "42", said="42"),
    )
    assert (stream.text.finish(), stream.text.thoughts) == ("42", "so")
    num_thinking = len(prompt.tokenizer.encode("<think>so</think>"))
    assert (seen.num_thinking, seen.num_answer) == (num_thinking, 2)


def test_tokens_of_another_vocabulary_are_not_read(reader: Reader) -> None:
    stream, seen = stream_of(reader.prompt, named(reader.prompt, "xy", said="no"), {"content": "!"})
    assert stream.text.finish() == "no!"
    assert seen.token_ids == []
