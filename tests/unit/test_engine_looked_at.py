"""The engine says where the model looked as it began its answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from glyph_worker.engine.engine import AnswerRequest, Deliver, Engine, PageInput, SequenceResult
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.reader import Reader
from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.setting_sections import EngineSettings
from glyph_worker.worker.prover import Prover

STYLE = preset_style("nano")
TEXT = """invoice date: 12 March 2026
customer: Ada Robotics
web port: 8443
mail host: gw-1
mail port: 8443
delivery date: 12 March 2026
"""


@pytest.fixture(scope="module")
def reader() -> Reader:
    torch.set_num_threads(1)
    return load_reader(checkpoint_path(), dtype="float32")


@pytest.fixture(scope="module")
def engine(reader: Reader) -> Iterator[Engine]:
    engine = Engine(reader, EngineSettings(max_slots=2))
    engine.start()
    yield engine
    engine.stop()


LAID = list(paginate(TEXT, STYLE))


def ask(engine: Engine, question: str) -> SequenceResult:
    pages = [draw(page) for page in LAID]

    def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
        features = engine.reader.encode_pages(pages)
        deliver([features[index] for index in indexes])

    inputs = tuple(
        PageInput(digest=page.page.digest, width=page.page.width, height=page.page.height)
        for page in LAID
    )
    request = AnswerRequest(sequence_id=question, pages=inputs, question=question)
    return engine.answer(request, fetch=fetch)


@pytest.mark.parametrize(
    ("question", "line"),
    [
        ("What is the web port?", "web port: "), ("What is the mail port?", "mail port: "),
        ("What is the invoice date?", "invoice date: "), ("delivery date?", "delivery date: "),
    ],
)  # fmt: skip
def test_of_equal_strings_the_one_that_was_read_is_cited(
    engine: Engine, question: str, line: str, tmp_path: Path
) -> None:
    outcome = ask(engine, question)
    shares = outcome.page_attention
    assert shares is not None
    assert shares.shape == (outcome.num_visual_tokens,)
    assert np.isclose(shares.sum(), 1, atol=1e-4)
    # A question that says nothing, so that only the look can tell.
    proof = Prover(tmp_path).prove(
        outcome.text,
        "?",
        document_digest="d",
        read=lambda: TEXT,
        style=STYLE,
        pages=[laid.page for laid in LAID],
        mode="check",
        cut=False,
        page_attention=shares,
        grid_of=engine.reader.processor.visual_grid,
    )
    assert TEXT.count(outcome.text) == 2
    assert proof.citations[0].start == TEXT.index(line) + len(line)


def test_attention_that_does_not_fit_the_pages_decides_nothing(tmp_path: Path) -> None:
    for shares in (np.ones(7, np.float32), np.ones(3 * 16, np.float32) / 48):
        proof = Prover(tmp_path).prove(
            "8443", "mail port?", document_digest="d", read=lambda: TEXT, style=STYLE,
            pages=[laid.page for laid in LAID], mode="check", cut=False, page_attention=shares,
            grid_of=lambda width, height: (3, 16),
        )  # fmt: skip
        assert proof.citations[0].start == TEXT.index("mail port: ") + len("mail port: ")
