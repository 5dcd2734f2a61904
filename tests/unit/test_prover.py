"""Many documents' proofs in one worker: what is kept for their next question is bounded."""

from __future__ import annotations

from pathlib import Path

from glyph_worker.render.paginate import paginate
from glyph_worker.render.style.presets import preset_style
from glyph_worker.worker.prover import MAX_DOCUMENTS, Prover

STYLE = preset_style("nano")


def test_a_worker_keeps_the_last_documents_only_and_proves_the_same(tmp_path: Path) -> None:
    prover, num_read = Prover(tmp_path), 0

    def prove(number: int) -> tuple[str, int | None, int]:
        text = f"note {number}\nport: {9_000 + number}\n" * 3
        pages = [laid.page for laid in paginate(text, STYLE)]

        def read() -> str:
            nonlocal num_read
            num_read += 1
            return text

        proof = prover.prove(
            str(9_000 + number), "What is the port?", document_digest=str(number), read=read,
            style=STYLE, pages=pages, mode="check", cut=False,
        )  # fmt: skip
        (citation,) = proof.citations
        assert proof.verified is True
        return citation.text, citation.page, len(citation.boxes)

    count = MAX_DOCUMENTS + 20
    first = [prove(number) for number in range(count)]
    assert first == [(str(9_000 + number), 1, 1) for number in range(count)]
    assert len(prover._known) == MAX_DOCUMENTS
    num_read = 0
    assert prove(count - 1) == first[-1]
    assert num_read == 0, "the last is known"
    assert prove(0) == first[0]
    assert num_read == 1, "the first was forgotten"
