"""The reader on strangers' documents, asked in a person's words: an exam, and a set for choosing.

Every answer goes the product's way: our engine decodes it, and the prover lays it beside its
document. Of the exam only totals leave this file; of the choosing set also what was wrong.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from train.sample import NOT_FOUND

from bench.answers_places import STYLE
from bench.answers_reader import Answered, Document, answer_all
from bench.machine import ROOT
from glyph_worker.model.reader import Reader
from glyph_worker.options import LiteralMode
from glyph_worker.proof import DOUBTFUL
from glyph_worker.render.paginate import paginate
from glyph_worker.worker.prover import Proof, Prover

EXAM_BARS = {"exam_exact": 60.0, "exam_verified_or_flagged_rightly": 95.0}


@dataclass(frozen=True, kw_only=True)
class Marked:
    """One answer as the model read it, and as the product gives it."""

    row: Answered
    proof: Proof

    @property
    def right(self) -> bool:
        return self.proof.text.strip() == self.row.wanted.strip()

    @property
    def stood_by(self) -> bool:
        """Whether it is shown as one that stands in the document and is not doubtful. "Not found"
        never is: of what is absent there is no place to show."""
        proof = self.proof
        stands = proof.verified is not False and bool(proof.citations)
        return stands and (proof.confidence is None or proof.confidence >= DOUBTFUL)


def papers(name: str) -> list[Document]:
    """`exam` or `choosing`."""
    texts = tomllib.loads((ROOT / f"ops/bench/exam/{name}.toml").read_text())
    return [
        Document(
            text=document["text"].strip("\n") + "\n",
            questions=tuple((text, answer) for text, answer in document["questions"]),
            group=name,
        )
        for document in texts["document"]
    ]


def mark(reader: Reader, rows: Iterable[Answered], mode: LiteralMode = "check") -> list[Marked]:
    """The answers with their proofs, as an answer worker would give them."""
    prover = Prover(reader.folder)
    out = []
    for row in rows:
        proof = prover.prove(
            row.got,
            row.question,
            document_digest=row.text,
            read=partial(str, row.text),
            style=STYLE,
            pages=tuple(laid.page for laid in paginate(row.text, STYLE)),
            mode=mode,
            cut=False,
            mean_log_prob=row.mean_log_prob,
            min_log_prob=row.min_log_prob,
            page_attention=row.page_attention,
            grid_of=reader.processor.visual_grid,
        )
        out.append(Marked(row=row, proof=proof))
    return out


def totals(
    rows: Sequence[Answered], default: Sequence[Marked], mended: Sequence[Marked]
) -> dict[str, float]:
    """Shares in per cent; `default` and `mended` are the same answers marked in both modes."""

    def share(flags: Iterable[bool]) -> float:
        known = list(flags)
        return round(100 * sum(known) / len(known), 1) if known else 0.0

    stood_by = [one for one in default if one.stood_by]
    return {
        "questions": len(rows),
        "read_exact": share(row.right for row in rows),
        "exact": share(one.right for one in default),
        "exact_with_literals_correct": share(one.right for one in mended),
        "absent_not_found": share(one.right for one in default if one.row.wanted == NOT_FOUND),
        "verified_or_flagged_rightly": share(one.stood_by == one.right for one in default),
        "verified": share(one.stood_by for one in default),
        "verified_that_are_right": share(one.right for one in stood_by),
    }


def sit(reader: Reader, name: str) -> tuple[dict[str, float], list[Marked]]:
    """(The totals of one set, its marked answers)."""
    rows, _ = answer_all(reader, papers(name))
    default = mark(reader, rows)
    return totals(rows, default, mark(reader, rows, "correct")), default
