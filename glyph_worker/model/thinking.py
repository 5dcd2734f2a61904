"""How a checkpoint thinks before it answers: what opens a thought, what ends it. Knows no tensor.

A template opens the thought itself, or leaves it to the model; some have a switch for it
(`enable_thinking`). Where a thought must end, because it is not wanted or its tokens are spent,
there follows what the template writes behind a thought that is left out, and the mark that begins
the answer, in a checkpoint that has one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from glyph_worker.model.answer_text import ANSWER, END_ANSWER, END_THINK, THINK
from glyph_worker.options import MAX_THINKING_TOKENS

SWITCH = "enable_thinking"


@dataclass(frozen=True, kw_only=True, slots=True)
class ThoughtMarks:
    """What surrounds a thought, as text; all '' of a checkpoint that does not think."""

    opening: str = ""
    """`<think>`."""
    closing: str = ""
    """Ends the thought and begins the answer."""
    answer: str = ""
    """The part of `closing` behind `</think>`."""
    answer_end: str = ""
    """What the model writes behind its answer, where it marks one."""

    @classmethod
    def read(
        cls, template: str, *, added: frozenset[str], opens: bool, closed: str | None
    ) -> ThoughtMarks:
        """Of a chat template and the tokenizer's added tokens; `opens`: the template does; `closed`
        is what a switch that is off writes after the question."""
        if not (opens or THINK in added or THINK in template):
            return cls()
        behind = closed.rpartition(END_THINK)[2] if closed and END_THINK in closed else ""
        marked = ANSWER in added or ANSWER in template
        answer = behind + (ANSWER if marked and ANSWER not in behind else "")
        return cls(
            opening=THINK,
            closing=END_THINK + answer,
            answer=answer,
            answer_end=END_ANSWER if marked else "",
        )


def default_thinking_tokens(folder: Path) -> int:
    """Longest thought where a job does not say: the generation settings' `max_new_tokens`, which a
    checkpoint that thinks spends on its thoughts, or else, and at most, MAX_THINKING_TOKENS."""
    path = folder / "generation_config.json"
    stated = json.loads(path.read_text()).get("max_new_tokens") if path.exists() else None
    if not isinstance(stated, int) or stated < 1:
        return MAX_THINKING_TOKENS
    return min(stated, MAX_THINKING_TOKENS)
