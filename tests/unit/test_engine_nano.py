"""The embedded reader's answers and score are the same through every path of the engine."""

from __future__ import annotations

import threading
from itertools import islice
from typing import Any

import pytest
import torch
from train.corpus import samples
from train.draw import cell_atlas, draw
from train.packing import page_cells

from glyph_worker.engine.engine import AnswerRequest, Engine, SequenceResult
from glyph_worker.engine.sequence import PageInput
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.library import library_prompt
from glyph_worker.model.processor import Page
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

pytestmark = pytest.mark.skipif(
    not (checkpoint_path() / "model.safetensors").exists(), reason="no trained reader yet"
)
MAX_TOKENS = 32


@pytest.fixture(scope="module")
def reader() -> Reader:
    torch.set_num_threads(1)
    return load_reader(checkpoint_path())


class Exam:
    """Drawn documents, their questions and the known answers."""

    def __init__(self) -> None:
        atlas = cell_atlas()
        self.documents: list[list[Page]] = []
        self.asked: list[tuple[int, str, str]] = []
        chosen = islice(samples("engine", low=8, high=14, asked=3, test=True, max_pages=2), 3)
        for number, sample in enumerate(chosen):
            self.documents.append(
                [
                    draw(atlas, torch.from_numpy(page_cells(lines))[None])[0].numpy()
                    for lines in sample.pages
                ]
            )
            self.asked += [(number, q.text, q.answer) for q in sample.questions[:3]]

    def score(self, answers: list[str]) -> int:
        return sum(
            answer == known for answer, (_, _, known) in zip(answers, self.asked, strict=True)
        )


@pytest.fixture(scope="module")
def exam() -> Exam:
    return Exam()


@torch.inference_mode()
def by_the_library(reader: Reader, exam: Exam) -> list[str]:
    answers = []
    for document, question, _ in exam.asked:
        prompt = library_prompt(reader, exam.documents[document], question)
        out = reader.model.generate(
            input_ids=prompt.input_ids,
            mm_token_type_ids=prompt.mm_token_type_ids,
            attention_mask=torch.ones_like(prompt.input_ids),
            pixel_values=prompt.pixel_values,
            image_grid_thw=prompt.image_grid_thw,
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
        )
        tokens = out[0, prompt.input_ids.shape[1] :].tolist()
        answers.append(reader.prompt.read_answer(tokens))
    return answers


def by_the_engine(reader: Reader, exam: Exam, **settings: Any) -> list[str]:
    engine = Engine(reader, EngineSettings.model_validate({"kv_bytes": 128 << 20, **settings}))
    outcomes: dict[int, SequenceResult] = {}

    def ask(number: int) -> None:
        document, question, _ = exam.asked[number]
        pages = exam.documents[document]
        request = AnswerRequest(
            sequence_id=str(number),
            pages=tuple(
                PageInput(digest=f"{document}/{i}", width=page.shape[1], height=page.shape[0])
                for i, page in enumerate(pages)
            ),
            question=question,
            max_new_tokens=MAX_TOKENS,
        )
        outcomes[number] = engine.answer(
            request,
            fetch=lambda wanted, deliver: deliver(reader.encode_pages([pages[i] for i in wanted])),
        )

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(exam.asked))]
    for thread in threads:
        thread.start()
    engine.start()
    for thread in threads:
        thread.join(120)
    engine.stop()
    return [outcomes[number].text for number in range(len(exam.asked))]


def test_answers_and_score_are_the_same_through_every_path(reader: Reader, exam: Exam) -> None:
    expected = by_the_library(reader, exam)
    assert len(expected) >= 6
    largest = max(
        sum(reader.num_visual_tokens(p.shape[1], p.shape[0]) + 8 for p in pages)
        for pages in exam.documents
    )
    language = reader.language
    per_token = language.num_layers * 2 * language.num_kv_heads * language.head_dim * 4
    scarce = (largest + 320) * per_token
    for settings in (
        {},
        {"grouped_decode": False, "prefill_tokens": 50},
        {"prefix_sharing": False, "max_slots": 3},
        {"kv_bytes": scarce, "kv_host_bytes": 4 * scarce, "max_slots": 2, "affinity": False},
    ):
        answers = by_the_engine(reader, exam, **settings)
        assert answers == expected, settings
        assert exam.score(answers) == exam.score(expected)
