"""Whether an answer says, honestly, that the document does not have what was asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from glyph_worker.evidence.fold import fold_text
from glyph_worker.evidence.index import DocumentIndex

_SAYS_SO = re.compile(
    r"(?:the |this |that )?(?:answer|information|value|document|text|it)?(?:'s)? ?"
    r"(?:is |was |does |could |can |do )?(?:not|n't|cannot|can't) ?(?:be )?"
    r"(?:found|mentioned|stated|given|specified|provided|available|present|known|contained"
    r"|(?:say|state|mention|contain|specify|give)\b[^.\n]{0,120})"
    r"(?: (?:in|by|from) (?:the|this) (?:document|text|pages?))?",
    re.IGNORECASE,
)
_SHORT = ("not found", "no answer", "no information", "unknown", "none mentioned", "not applicable")


def is_found(index: DocumentIndex, answer: str, phrases: Sequence[str] = ()) -> bool | None:
    """False for an answer that is one of the checkpoint's phrases, or a usual one, for "it is not
    there"; None for an empty answer, and where the document itself has these words; else True."""
    said = answer.strip().strip(".!\"'“”").strip()
    if not said:
        return None
    folded = fold_text(said)
    known = any(folded == fold_text(phrase) for phrase in (*phrases, *_SHORT))
    if not known and not (len(said) <= 300 and _SAYS_SO.fullmatch(said)):
        return True
    return None if any(True for _ in index.alike(folded)) else False
