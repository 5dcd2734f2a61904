"""Questions that the embedded reader answers through our own engine: what it writes, whether that
is right, how likely its tokens were, and how long all took.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from train.corpus import samples

from bench.answers_places import STYLE
from bench.machine import ROOT
from glyph_worker.engine.engine import AnswerRequest, Deliver, Engine, PageInput
from glyph_worker.model.reader import Reader
from glyph_worker.render.out.raster import draw
from glyph_worker.render.paginate import paginate
from glyph_worker.setting_sections import EngineSettings

AT_ONCE = 8
SUITES = ((18, 28, 1), (16, 24, 2))


@dataclass(frozen=True, kw_only=True)
class Document:
    text: str
    questions: tuple[tuple[str, str], ...]
    """Each with its right answer."""
    group: str


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer of the reader."""

    group: str
    text: str
    """Of the document, in normal form."""
    question: str
    wanted: str
    got: str
    mean_log_prob: float | None
    min_log_prob: float | None
    page_attention: np.ndarray | None = None
    """float32 [num_visual_tokens], as SequenceResult has it."""

    @property
    def right(self) -> bool:
        return self.got.strip() == self.wanted.strip()


def made(seed: str, documents: int) -> Iterator[Document]:
    """Documents of the corpus's kind that training never saw."""
    for low, high, pages in SUITES:
        source = samples(
            f"answers {seed} {pages}", low=low, high=high, asked=10, test=True, max_pages=pages
        )
        for _ in range(documents):
            sample = next(source)
            asked = tuple((q.text, q.answer) for q in sample.questions)
            yield Document(text=sample.text, questions=asked, group="made")


def strangers() -> Iterator[Document]:
    """Documents as people have them, with questions written by hand."""
    texts = tomllib.loads((ROOT / "ops/bench/reader_texts.toml").read_text())
    for document in texts["document"]:
        asked = tuple((text, answer) for text, answer in document["questions"])
        yield Document(text=document["text"], questions=asked, group=document["set"])


def answer_all(reader: Reader, documents: Iterable[Document]) -> tuple[list[Answered], float]:
    """Every question on every document, and the seconds of processor time that it took, pages and
    all."""
    engine = Engine(reader, EngineSettings(max_slots=AT_ONCE))
    engine.start()
    out: list[Answered] = []
    spent = 0.0
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for number, document in enumerate(documents):
                began = time.process_time()
                out += _answer(reader, engine, pool, number, document)
                spent += time.process_time() - began
    finally:
        engine.stop()
    return out, spent


def _answer(
    reader: Reader, engine: Engine, pool: ThreadPoolExecutor, number: int, document: Document
) -> list[Answered]:
    pagination = paginate(document.text, STYLE)
    laid = list(pagination)
    pages = [draw(page) for page in laid]
    features = reader.encode_pages(pages)
    inputs = tuple(
        PageInput(digest=page.page.digest, width=image.shape[1], height=image.shape[0])
        for page, image in zip(laid, pages, strict=True)
    )

    def ask(item: tuple[int, tuple[str, str]]) -> Answered:
        at, (question, wanted) = item

        def fetch(indexes: Sequence[int], deliver: Deliver) -> None:
            deliver([features[index] for index in indexes])

        request = AnswerRequest(
            sequence_id=f"{number}-{at}", pages=inputs, question=question, max_new_tokens=100
        )
        outcome = engine.answer(request, fetch=fetch)
        return Answered(
            group=document.group,
            text=pagination.normalized.text,
            question=question,
            wanted=wanted,
            got=outcome.text,
            mean_log_prob=outcome.mean_log_prob,
            min_log_prob=outcome.min_log_prob,
            page_attention=outcome.page_attention,
        )

    return list(pool.map(ask, enumerate(document.questions)))


def auroc(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Chance that a right answer has the higher score than a wrong one, ties counting half (Mann
    and Whitney's U)."""
    values, flags = np.asarray(scores), np.asarray(right)
    good, bad = values[flags], values[~flags]
    if not len(good) or not len(bad):
        return float("nan")
    above = (good[:, None] > bad[None]).mean() + 0.5 * (good[:, None] == bad[None]).mean()
    return float(above)


def isotonic(scores: Sequence[float], right: Sequence[bool], *, bins: int) -> list[list[float]]:
    """Knots of a rising curve from score to share of right answers: pool adjacent violators over
    equally full bins, each drawn towards one half by one answer of either kind (Laplace)."""
    order = np.argsort(scores, kind="stable")
    parts = np.array_split(order, min(bins, max(1, len(order) // 20)))
    values, flags = np.asarray(scores), np.asarray(right)
    blocks = [
        [float(values[part].mean()), float(flags[part].sum()) + 1, len(part) + 2]
        for part in parts
        if len(part)
    ]
    merged: list[list[float]] = []
    for mean, hits, size in blocks:
        merged.append([mean * size, hits, size])
        while len(merged) > 1 and merged[-2][1] / merged[-2][2] >= merged[-1][1] / merged[-1][2]:
            last = merged.pop()
            merged[-1] = [a + b for a, b in zip(merged[-1], last, strict=True)]
    return [[round(mean / size, 4), round(hits / size, 4)] for mean, hits, size in merged]
