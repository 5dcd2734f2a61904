"""Pages and a question as tokens, and an answer's tokens as text. Knows no tensor.

The template is the checkpoint's own: it is rendered once with pages before the question and cut at
its placeholders. What stands before the question is the same for all questions on a document, so
its keys and values can be shared; the question's text can never become a special token.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.answer_text import TAGS, AnswerText, Words
from glyph_worker.model.chat_template import (
    PromptTemplate,
    TemplateReader,
    TurnTemplate,
    framed,
)
from glyph_worker.model.thinking import SWITCH, ThoughtMarks, default_thinking_tokens
from glyph_worker.model.token_bytes import TokenBytes
from glyph_worker.options import Thinking


class Prompt:
    """Builds prompts for one checkpoint and reads its answers. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        *,
        image_token_id: int,
        eos_token_ids: tuple[int, ...],
        end_words: tuple[str, ...] = (),
        tags: tuple[str, ...] = TAGS,
        frame: tuple[str, str] | None = None,
    ) -> None:
        """`end_words` are tokens that end an answer too, where the tokenizer has them; `tags` are
        no part of an answer's text. `frame` is the text before and after a question where there is
        no chat template. Raises ModelUnusable.
        """
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, ImportError) as exc:
            raise ModelUnusable(
                f"{folder} has no tokenizer that can be read ({exc}); copy tokenizer.json and "
                "tokenizer_config.json of the checkpoint beside its weights",
                path=str(folder),
            ) from exc
        self.image_token_id = image_token_id
        self.image_token: str = self.tokenizer.convert_ids_to_tokens(image_token_id)
        self._lock = threading.Lock()  # fast tokenizers change their truncation state per call
        names = sorted(self._plain_marks(), key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self._end_words = end_words
        self.turns: TurnTemplate | None
        if frame is None:
            added = (token for token in self.tokenizer.get_added_vocab() if token)
            cut = TemplateReader(
                self.tokenizer,
                image_token=self.image_token,
                specials=frozenset((*added, *self.tokenizer.all_special_tokens)),
                encode=self._encode,
            )
            self.template = cut.template(folder)
            self.turns = cut.turns()
            self._read_thinking(folder, cut)
        else:
            self.template, self.turns = framed(self.tokenizer, self._encode, *frame)
            self._never_thinks()
        self._token_bytes = TokenBytes(self.tokenizer)
        self._marks = Words((*tags, *(str(token) for token in self.tokenizer.all_special_tokens)))
        self.eos_token_ids = frozenset((*eos_token_ids, *self._own_ends(folder)))

    def _own_ends(self, folder: Path) -> tuple[int, ...]:
        ends: list[int] = []
        path = folder / "generation_config.json"
        if path.exists():
            stated = json.loads(path.read_text()).get("eos_token_id")
            ends += stated if isinstance(stated, list) else [] if stated is None else [stated]
        if self.tokenizer.eos_token_id is not None:
            ends.append(self.tokenizer.eos_token_id)
        for word in self._end_words:
            end = self.tokenizer.convert_tokens_to_ids(word)
            if isinstance(end, int) and end != self.tokenizer.unk_token_id:
                ends.append(end)
        return tuple(ends)

    def _plain_marks(self) -> list[str]:
        """Added tokens that the tokenizer finds in plain text too, not being special ones."""
        added = self.tokenizer.added_tokens_decoder.values()
        return [t.content for t in added if not t.special and len(t.content) > 1]

    def _read_thinking(self, folder: Path, cut: TemplateReader) -> None:
        """Templates with the thought opened, left out, and as the checkpoint does itself."""
        own = self.template
        on, off = (cut.template(folder, **{SWITCH: value}) for value in (True, False))
        shared = all((t.first_page, t.next_page) == (own.first_page, own.next_page)
                     for t in (on, off))  # fmt: skip
        switched = shared and on != off
        self.thought = ThoughtMarks.read(
            str(self.tokenizer.chat_template or ""),
            added=frozenset(self.tokenizer.get_added_vocab()),
            opens=own.opens_thought or (switched and on.opens_thought),
            closed=self.tokenizer.decode(off.after_question) if switched else None,
        )
        self.closing, self.opening_answer = (
            tuple(self._encode(text)) for text in (self.thought.closing, self.thought.answer)
        )
        self.default_thinking_tokens = default_thinking_tokens(folder) if self.thinks else 0
        if not switched:
            begin = tuple(self._encode(self.thought.opening)) if not own.opens_thought else ()
            opened = (*own.after_question, *begin)
            on = replace(own, after_question=opened, opens_thought=self.thinks)
            closed = (*opened, *self.closing)
            off = replace(own, after_question=closed, opens_thought=False)
        self.templates: dict[Thinking, PromptTemplate] = {"auto": own, "on": on, "off": off}

    def _never_thinks(self) -> None:
        self.thought = ThoughtMarks()
        self.closing, self.opening_answer = (), ()
        self.default_thinking_tokens = 0
        self.templates = {"auto": self.template, "on": self.template, "off": self.template}

    @property
    def think_token(self) -> int | None:
        """The token that begins a thought where that is for the model to do; None: several, or the
        template does."""
        token = self.tokenizer.get_added_vocab().get(self.thought.opening)
        return None if token is None or self.template.opens_thought else int(token)

    @property
    def thinks(self) -> bool:
        """Whether this checkpoint can think before it answers."""
        return bool(self.thought.opening)

    def _encode(self, text: str, *, plain: bool = False) -> list[int]:
        ids: list[int] = []
        for part in self._parts(text) if plain else [text] if text else []:
            with self._lock:
                ids += self.tokenizer(
                    part, add_special_tokens=False, split_special_tokens=plain
                ).input_ids
        return ids

    def _parts(self, text: str) -> list[str]:
        """The text, cut within each added token that stands in it: in two parts it is plain text.

        `split_special_tokens` does that for special tokens, and not for added ones that are none,
        such as `<think>` in many a tokenizer.
        """
        parts, start = [], 0
        while found := self._added.search(text, start):
            parts.append(text[start : found.start() + 1])
            start = found.start() + 1
        return [*parts, text[start:]] if text[start:] else parts

    def page_lead(self, index: int) -> tuple[int, ...]:
        """Text tokens before the visual tokens of page `index` (0 is the first)."""
        return self.template.first_page if index == 0 else self.template.next_page

    def history(self, turns: Sequence[tuple[str, str]], *, num_pages: int) -> list[tuple[int, ...]]:
        """Token ids of each earlier question with its answer, after the last page.

        Empty where the checkpoint's template takes one question alone (`reads_history`).
        """
        between = self.turns
        if between is None:
            return []
        return [
            tuple(self._turn(between, *turn, is_first=not at, num_pages=num_pages))
            for at, turn in enumerate(turns)
        ]

    @property
    def reads_history(self) -> bool:
        """Whether the checkpoint is given the earlier turns of a conversation."""
        return self.turns is not None

    def _turn(
        self,
        between: TurnTemplate,
        question: str,
        answer: str,
        *,
        is_first: bool,
        num_pages: int,
    ) -> list[int]:
        lead, glue = self._before(is_first=is_first, num_pages=num_pages)
        if not between.before_answer:  # plain text all through, as of a frame
            parts = glue, question, between.glue_after_question, between.glue_before_answer, answer
            return [*lead, *self._plain("".join(parts) + between.glue_after_answer)]
        return [
            *lead,
            *self._plain(glue + question + between.glue_after_question),
            *between.before_answer,
            *self._plain(between.glue_before_answer + answer + between.glue_after_answer),
        ]

    def _before(self, *, is_first: bool, num_pages: int) -> tuple[tuple[int, ...], str]:
        """Token ids, and plain text, before a question."""
        if not is_first and self.turns is not None:
            return self.turns.before_next, self.turns.glue_before_next
        cut = self.template
        return (cut.before_question if num_pages else cut.without_pages), cut.glue_before

    def tail(
        self,
        question: str,
        *,
        num_pages: int,
        thinking: Thinking = "auto",
        is_first: bool = True,
    ) -> list[int]:
        """Token ids after the last page, or the last earlier turn: the question and what opens the
        answer, or the thought.

        Special tokens written in the question are spelled out as plain text.
        """
        cut = self.templates[thinking]
        lead, glue = self._before(is_first=is_first, num_pages=num_pages)
        body = self._plain(glue + question + cut.glue_after)
        return [*lead, *body, *cut.after_question]

    def _plain(self, text: str) -> list[int]:
        body = self._encode(text, plain=True)
        # A spelled-out special may still be looked up whole by odd tokenizers: never a placeholder.
        unknown = self.tokenizer.unk_token_id
        return [unknown or 0 if token == self.image_token_id else token for token in body]

    def num_question_tokens(self, question: str) -> int:
        """Tokens of the question's own text."""
        return len(self._encode(question, plain=True))

    def num_text_tokens(self, text: str) -> int:
        """Tokens the document would cost as text: the numerator of the compression ratio."""
        return len(self._encode(text, plain=True))

    def answer_text(
        self,
        stop: Sequence[str] = (),
        thinking: Thinking = "auto",
        *,
        token_bytes: Callable[[int], bytes] | None = None,
    ) -> AnswerText:
        """Makes an answer's tokens its text, up to the first of the stop strings.

        `token_bytes`: where the tokens are not this vocabulary's.
        """
        opens = self.templates[thinking].opens_thought
        return AnswerText(token_bytes or self._bytes_of, self._marks, stop=stop, thinking=opens)

    @property
    def has_thinking_switch(self) -> bool:
        """Whether the chat template itself opens a thought, or leaves it out, when asked to."""
        return SWITCH in str(self.tokenizer.chat_template or "")

    def read_answer(self, token_ids: Sequence[int], stop: Sequence[str] = ()) -> str:
        """The text of a whole answer."""
        text = self.answer_text(stop)
        text.feed(token_ids)
        return text.finish()

    def plain_tokens(self, text: str) -> list[int]:
        """Token ids of a text in which nothing is a special token."""
        return self._encode(text, plain=True)

    def token_bytes(self, token_id: int) -> bytes:
        """What a token stands for; an added token for its name."""
        with self._lock:
            return self._token_bytes.of(token_id)

    def _bytes_of(self, token_id: int) -> bytes:
        if token_id in self.eos_token_ids:
            return b""
        return self.token_bytes(token_id)
