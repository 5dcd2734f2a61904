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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.answer_text import END_THINK, TAGS, THINK, AnswerText, Words
from glyph_worker.model.thinking import SWITCH, ThoughtMarks, default_thinking_tokens
from glyph_worker.model.token_bytes import TokenBytes
from glyph_worker.options import Thinking

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
        self._specials = {token for token in self.tokenizer.get_added_vocab() if token} | set(
            self.tokenizer.all_special_tokens
        )
        names = sorted(self._plain_marks(), key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self._end_words = end_words
        if frame is None:
            self.template = self._read_template(folder)
            self.turns = self._read_turns()
            self._read_thinking(folder)
        else:
            self.template = self._framed(*frame)
            self.turns = _framed_turns(*frame)
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

    def _read_thinking(self, folder: Path) -> None:
        """Templates with the thought opened, left out, and as the checkpoint does itself."""
        own = self.template
        on, off = (self._read_template(folder, **{SWITCH: value}) for value in (True, False))
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

    def _render(self, num_pages: int, **switch: bool) -> str:
        content = [{"type": "image"}] * num_pages + [{"type": "text", "text": _SENTINEL}]
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            **switch,
        )
        return text

    def _read_template(self, folder: Path, **switch: bool) -> PromptTemplate:
        try:
            plain, two = self._render(0, **switch), self._render(2, **switch)
        except Exception as exc:
            raise ModelUnusable(
                f"the chat template of {folder} cannot be rendered: {exc}", path=str(folder)
            ) from exc
        parts = two.split(self.image_token)
        if len(parts) != 3 or parts[2].count(_SENTINEL) != 1 or plain.count(_SENTINEL) != 1:
            raise ModelUnusable(
                f"the chat template of {folder} does not place pages before the question: it must "
                f"write one {self.image_token} per image and the text after them",
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

    def _read_turns(self) -> TurnTemplate | None:
        """How the template writes earlier turns; None where it takes one question alone."""
        asked = [
            {"role": "user", "content": [{"type": "text", "text": _EARLIER}]},
            {"role": "assistant", "content": _EARLIER_ANSWER},
            {"role": "user", "content": [{"type": "text", "text": _SENTINEL}]},
        ]
        try:
            text: str = self.tokenizer.apply_chat_template(
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

    def _framed(self, before: str, after: str) -> PromptTemplate:
        """Pages, then one text with the question in it, between what the tokenizer adds itself."""
        bare = self._encode("a")
        with self._lock:
            whole: list[int] = self.tokenizer("a").input_ids
        at = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        return PromptTemplate(
            first_page=(),
            next_page=(),
            before_question=tuple(whole[:at]),
            without_pages=tuple(whole[:at]),
            after_question=tuple(whole[at + len(bare) :]),
            glue_before=before,
            glue_after=after,
            opens_thought=False,
        )

    def _split_last_special(self, text: str) -> tuple[str, str]:
        ends = [text.rfind(token) + len(token) for token in self._specials if token in text]
        cut = max(ends, default=0)
        return text[:cut], text[cut:]

    def _split_first_special(self, text: str) -> tuple[str, str]:
        starts = [text.find(token) for token in self._specials if token in text]
        cut = min(starts, default=len(text))
        return text[:cut], text[cut:]

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


def _framed_turns(before: str, after: str) -> TurnTemplate:
    """As BLIP-2's authors write a conversation: `Question: … Answer: …. Question: … Answer:`."""
    return TurnTemplate(
        glue_after_question=after,
        before_answer=(),
        glue_before_answer=" ",
        glue_after_answer=". ",
        before_next=(),
        glue_before_next=before,
    )
