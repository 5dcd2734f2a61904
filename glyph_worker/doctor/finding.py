"""What a check says. Examines nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    what: str
    level: Literal["ok", "note", "fault"]
    found: str
    fix: str = ""


def attention(what: str, backend: str, refusals: Iterable[str]) -> Iterator[Finding]:
    yield Finding(what=what, level="ok", found=backend)
    for refusal in refusals:
        yield Finding(
            what=what, level="fault", found=f"slower than wanted, refused {refusal}",
            fix="mend that, or choose what is used: GLYPH_ENGINE_ATTENTION=torch, "
            "GLYPH_OFF=compile,cuda_graphs",
        )  # fmt: skip
