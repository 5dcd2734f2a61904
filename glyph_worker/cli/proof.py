"""How an answer's proof is printed: a mark, words and page numbers. A mark never stands alone."""

from __future__ import annotations

from glyph_worker.job import Answer
from glyph_worker.proof import DOUBTFUL
from glyph_worker.terminal import Part

MAX_NAMED = 4
"""Literals named one by one."""


def proof_parts(answer: Answer) -> list[Part]:
    """One line of what is known of the answer beside its text; no parts where nothing is."""
    parts: list[Part] = []
    wrong = [one for one in answer.literals if one.status == "unsupported"]
    if wrong:
        named = ", ".join(
            f"{one.text} (it has {one.suggested})" if one.suggested else one.text
            for one in wrong[:MAX_NAMED]
        )
        more = f" and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
        parts.append((f"✗ not in the document: {named}{more}", "red"))
    if mended := [one for one in answer.literals if one.status == "corrected"]:
        named = ", ".join(f"{one.text} (read as {one.read_as})" for one in mended[:MAX_NAMED])
        parts.append((f"≈ corrected: {named}", "yellow"))
    if answer.read_as:
        why = "too doubtful" if answer.found is False else "the document's own text"
        parts.append((f"≈ {why}: read as {answer.read_as}", "yellow"))
    if answer.citations:
        exact = all(one.kind == "exact" for one in answer.citations)
        pages = sorted({one.page for one in answer.citations if one.page is not None})
        where = f"page{'s' if len(pages) > 1 else ''} {', '.join(map(str, pages))}"
        found = where if pages else "in the document"
        parts.append((f"✓ {found}", "green") if exact else (f"≈ {found}, alike", "yellow"))
    if answer.found is False and not answer.read_as:
        parts.append("the document does not say it")
    if answer.confidence is not None:
        sure = answer.confidence >= DOUBTFUL
        said = f"confidence {answer.confidence:.2f}"
        parts.append(said if sure else (f"{said}, doubtful", "yellow"))
    return [part for at, one in enumerate(parts) for part in ([" · "] if at else []) + [one]]
