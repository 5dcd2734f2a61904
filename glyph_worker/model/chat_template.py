"""A checkpoint's chat template, cut where pages, questions and answers go.

It is rendered once with marks in their places. What stands between them is token ids; plain text
that touches a question or an answer stays text, to be tokenised together with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.answer_text import END_THINK, THINK

_SENTINEL = "\ue000question\ue001"
_EARLIER, _EARLIER_ANSWER = "\ue000earlier\ue001", "\ue000answer\ue001"


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptTemplate:
    """The checkpoint's chat template, cut where pages and question go. Token ids."""

    first_page: tuple[int, ...]
    """Before the visual tokens of the first page."""
    next_page: tuple[int, ...]
    """Between the visual tokens of two pages."""
    before_question: tuple[int, ...]
    """After the visual tokens of the last page."""
    without_pages: tuple[int, ...]
    """Before the question, when there is no page at all."""
    after_question: tuple[int, ...]
    """After the question; the answer follows."""
    glue_before: str
    """Plain text that touches the question, tokenised together with it."""
    glue_after: str
    opens_thought: bool
    """The answer begins inside a thought."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnTemplate:
    """What stands between an earlier question, its answer and the next question. Token ids, and
    plain text that touches a question or an answer and is tokenised together with it."""

    glue_after_question: str
    before_answer: tuple[int, ...]
    glue_before_answer: str
    glue_after_answer: str
    before_next: tuple[int, ...]
    glue_before_next: str


class TemplateReader:
    """Of one tokenizer, while a checkpoint is loaded."""

    def __init__(
        self,
        tokenizer: Any,
        *,
        image_token: str,
        specials: frozenset[str],
        encode: Callable[[str], list[int]],
    ) -> None:
        """`specials`: tokens that no plain text becomes a part of; `encode` adds none."""
        self._tokenizer = tokenizer
        self._image_token = image_token
        self._specials = specials
        self._encode = encode

    def _render(self, num_pages: int, **switch: bool) -> str:
        content = [{"type": "image"}] * num_pages + [{"type": "text", "text": _SENTINEL}]
        text: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            **switch,
        )
        return text

    def template(self, folder: Path, **switch: bool) -> PromptTemplate:
        """`switch` is given to the template. Raises ModelUnusable."""
        try:
            plain, two = self._render(0, **switch), self._render(2, **switch)
        except Exception as exc:
            raise ModelUnusable(
                f"the chat template of {folder} cannot be rendered: {exc}", path=str(folder)
            ) from exc
        parts = two.split(self._image_token)
        if len(parts) != 3 or parts[2].count(_SENTINEL) != 1 or plain.count(_SENTINEL) != 1:
            raise ModelUnusable(
                f"the chat template of {folder} does not place pages before the question: it must "
                f"write one {self._image_token} per image and the text after them",
                path=str(folder),
            )
        before, after = parts[2].split(_SENTINEL)
        opens_thought = after.rfind(THINK) > after.rfind(END_THINK)
        before, glue_before = self._split_last_special(before)
        glue_after, after = self._split_first_special(after)
        return PromptTemplate(
            first_page=tuple(self._encode(parts[0])),
            next_page=tuple(self._encode(parts[1])),
            before_question=tuple(self._encode(before)),
            without_pages=tuple(self._encode(plain.split(_SENTINEL)[0])),
            after_question=tuple(self._encode(after)),
            glue_before=glue_before,
            glue_after=glue_after,
            opens_thought=opens_thought,
        )

    def turns(self) -> TurnTemplate | None:
        """How the template writes earlier turns; None where it takes one question alone."""
        asked = [
            {"role": "user", "content": [{"type": "text", "text": _EARLIER}]},
            {"role": "assistant", "content": _EARLIER_ANSWER},
            {"role": "user", "content": [{"type": "text", "text": _SENTINEL}]},
        ]
        try:
            text: str = self._tokenizer.apply_chat_template(
                asked, tokenize=False, add_generation_prompt=True
            )
        except Exception:  # noqa: BLE001  templates raise what they like
            return None
        found = re.fullmatch(
            f".*?{_EARLIER}(.*?){_EARLIER_ANSWER}(.*?){_SENTINEL}.*", text, re.DOTALL
        )
        if found is None:
            return None
        glue_after_question, rest = self._split_first_special(found[1])
        before_answer, glue_before_answer = self._split_last_special(rest)
        glue_after_answer, rest = self._split_first_special(found[2])
        before_next, glue_before_next = self._split_last_special(rest)
        return TurnTemplate(
            glue_after_question=glue_after_question,
            before_answer=tuple(self._encode(before_answer)),
            glue_before_answer=glue_before_answer,
            glue_after_answer=glue_after_answer,
            before_next=tuple(self._encode(before_next)),
            glue_before_next=glue_before_next,
        )

    def _split_last_special(self, text: str) -> tuple[str, str]:
        ends = [text.rfind(token) + len(token) for token in self._specials if token in text]
        cut = max(ends, default=0)
        return text[:cut], text[cut:]

    def _split_first_special(self, text: str) -> tuple[str, str]:
        starts = [text.find(token) for token in self._specials if token in text]
        cut = min(starts, default=len(text))
        return text[:cut], text[cut:]


def framed(
    tokenizer: Any, encode: Callable[[str], list[int]], before: str, after: str
) -> tuple[PromptTemplate, TurnTemplate]:
    """Where there is no template: pages, then one text with the question in it, between what the
    tokenizer adds itself; a conversation as BLIP-2's authors write it, `Question: … Answer: ….
    Question: … Answer:`."""
    bare: list[int] = encode("a")
    whole: list[int] = tokenizer("a").input_ids
    at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    template = PromptTemplate(
        first_page=(),
        next_page=(),
        before_question=tuple(whole[:at]),
        without_pages=tuple(whole[:at]),
        after_question=tuple(whole[at + len(bare) :]),
        glue_before=before,
        glue_after=after,
        opens_thought=False,
    )
    turns = TurnTemplate(
        glue_after_question=after,
        before_answer=(),
        glue_before_answer=" ",
        glue_after_answer=". ",
        before_next=(),
        glue_before_next=before,
    )
    return template, turns
