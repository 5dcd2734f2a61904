"""Which of a sequence's tokens are thought and which are answer, and which it is made to take.

A thought has its own budget. When that is spent, or the model ends within its thought, the tokens
that close it are taken in place of the model's own, and the answer begins. From there on an answer
that has a form follows its grammar.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from glyph_worker.engine.grammar import Grammar, TokenMask
from glyph_worker.model.answer_text import AnswerText


class Phases:
    """Of one sequence. Belongs to the engine's thread."""

    def __init__(
        self,
        *,
        ends: frozenset[int],
        max_answer: int,
        max_thinking: int = 0,
        closing: tuple[int, ...] = (),
        opening_answer: tuple[int, ...] = (),
        text: AnswerText | None = None,
        grammar: Grammar | None = None,
        begins_thought: int | None = None,
    ) -> None:
        """`text` watches for thoughts and stop strings; None where neither can come. `closing` ends
        a thought and begins the answer; `opening_answer` is its part that follows the thought.
        `begins_thought`: by this token the model may think before an answer that has a form.
        """
        self.max_answer = max_answer
        self.max_thinking = max_thinking
        self.num_tokens = 0
        self.num_thinking = 0
        self.num_answer = 0
        self.form_from: int | None = None
        """Number of the first token that follows the grammar."""
        self.log_probs: list[float] = []
        """Of the answer's tokens, each given those before it."""
        self._ends = ends
        self._closing = closing
        self._opening_answer = opening_answer
        self._text = text
        self._grammar = grammar
        self._begins_thought = begins_thought if max_thinking else None
        self._forced: deque[int] = deque()
        self._close_if_spent()

    @property
    def thinking(self) -> bool:
        """Whether the next token is one of a thought."""
        return self._text is not None and self._text.thinking

    @property
    def forced(self) -> bool:
        """Whether the next token is given, whatever the model chooses."""
        return bool(self._forced)

    @property
    def may_begin_thought(self) -> int | None:
        """The token by which the model may think before an answer that has a form; None: it may
        not."""
        return self._begins_thought if self.follows_form and self.form_from is None else None

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self._ends

    @property
    def follows_form(self) -> bool:
        """Whether the next token is bound by the grammar."""
        return self._grammar is not None and not self.thinking and not self._forced

    @property
    def ended(self) -> bool:
        """Whether the answer is complete without the model saying so."""
        if self._text is not None and self._text.stopped:
            return True
        return self.form_from is not None and self._grammar is not None and self._grammar.complete

    @property
    def spent(self) -> bool:
        """Whether the answer may have no more tokens."""
        return self.num_answer >= self.max_answer

    def fill(self, mask: TokenMask) -> None:
        """Set the bits of the tokens that may come next. Raises InvalidSchema."""
        assert self._grammar is not None
        self._grammar.fill(mask)
        token = self._begins_thought
        if self.form_from is None and token is not None:
            mask.view(np.uint32)[token // 32] |= np.uint32(1 << token % 32)

    def choose(self, sampled: int) -> int | None:
        """The token to take where the model has chosen `sampled`; None: the answer ends here."""
        if not self._forced and sampled in self._ends:
            if not self.thinking:
                return None
            self._forced.extend(self._closing)  # the answer is still to come
        return self._forced[0] if self._forced else sampled

    def take(self, token: int, log_prob: float) -> None:
        """The token has come. Raises InvalidSchema."""
        thought_before, forced = self.thinking, bool(self._forced)
        formed = self.follows_form and not (
            self.form_from is None and token == self._begins_thought
        )
        if forced:
            self._forced.popleft()
        if formed:
            assert self._grammar is not None
            if self.form_from is None:
                self.form_from = self.num_tokens
            self._grammar.take(token)
        elif self._text is not None:
            self._text.feed((token,))
        self.num_tokens += 1
        if forced:
            return
        if not (thought_before or self.thinking):
            self.num_answer += 1
            self.log_probs.append(log_prob)
            return
        self.num_thinking += 1
        if not thought_before and self._text is not None and not self._text.began:
            # White space before the first thought is no answer yet.
            self.num_thinking += self.num_answer
            self.num_answer = 0
            self.log_probs.clear()
        if self.thinking:
            self._close_if_spent()
        elif self._grammar is not None:
            self._forced.extend(self._opening_answer)

    def _close_if_spent(self) -> None:
        if self.thinking and self.num_thinking >= self.max_thinking:
            self._forced.extend(self._closing)
