"""A streamed answer of OpenAI's form becomes text, thoughts, tokens and probabilities. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glyph_worker.backends.asked import Asked
from glyph_worker.engine.sequence import AnswerRequest, FinishReason
from glyph_worker.errors import EngineFault
from glyph_worker.model.prompt import Prompt


class Stream:
    """One answer. What comes is fed to the same AnswerText as our own tokens: the tokens themselves
    where the server names them, for its text leaves some out (special ones, and a character's until
    it is whole); else its text, piece by piece."""

    def __init__(self, prompt: Prompt, request: AnswerRequest, *, max_answer: int) -> None:
        """`max_answer`: tokens of the answer; the server counts thoughts and answer together."""
        self._max_answer = max_answer
        self._cut = False
        """The answer goes on beyond its most tokens."""
        self._by_tokens: bool | None = None
        """None: nothing has come."""
        self._pieces: list[bytes] = []
        self._prompt = prompt
        self._request = request
        self.text = prompt.answer_text(request.stop, request.thinking, token_bytes=self._bytes_of)
        self.reason: FinishReason | None = None
        self._reasoning: list[str] = []
        self._num_completion: int | None = None

    def _bytes_of(self, token: int) -> bytes:
        return self._prompt.token_bytes(token) if self._by_tokens else self._pieces[token]

    def take(self, event: dict[str, Any], asked: Asked) -> FinishReason | None:
        """One event. The reason where no more is wanted. Raises EngineFault for an error."""
        if "error" in event:
            raise EngineFault(f"the server broke off its answer: {str(event['error'])[:300]}")
        self._count(event.get("usage") or {}, asked)
        choices = event.get("choices") or ()
        if not choices:
            return None
        choice = choices[0]
        delta = choice.get("delta") or {}
        token_ids = choice.get("token_ids") or ()
        thought = delta.get("reasoning") or delta.get("reasoning_content") or ""
        said = delta.get("content") or ""
        log_probs = ((choice.get("logprobs") or {}).get("content")) or ()
        if self._by_tokens is None and (token_ids or thought or said):
            self._by_tokens = self._are_ours(token_ids, thought + said)
        ended = False
        if self._by_tokens:
            ended = self._feed_tokens(token_ids, log_probs, asked)
        elif thought:
            if not self._reasoning and not asked.num_answer:
                # The server tells thoughts apart itself: what follows is all answer.
                self._restart(asked)
            self._reasoning.append(thought)
            asked.num_thinking += len(log_probs) or 1
        elif said:
            self._feed(said, log_probs, asked)
        if thought or said or token_ids:
            asked.grew()
        if choice.get("finish_reason"):
            self.reason = "length" if choice["finish_reason"] == "length" else "stop"
        if ended or self.text.stopped:
            return "stop"
        return "length" if self._cut else None

    def _are_ours(self, token_ids: Sequence[int], said: str) -> bool:
        """Whether these tokens are of the vocabulary in our folder, as far as their text shows."""
        if not token_ids:
            return False
        whole = b"".join(map(self._prompt.token_bytes, token_ids)).decode(errors="replace")
        return said.strip() in whole

    def _feed_tokens(self, token_ids: Sequence[int], log_probs: Any, asked: Asked) -> bool:
        """Whether the model ended its answer."""
        listed = len(log_probs) == len(token_ids)
        for number, token in enumerate(token_ids):
            if token in self._prompt.eos_token_ids and not self.text.thinking:
                return True
            thinks = token == self._prompt.think_token and not self.text.began
            log_prob = float(log_probs[number]["logprob"]) if listed else None
            if not self._feed_one(token, log_prob, asked, is_form=not thinks):
                return False
            asked.token_ids.append(token)
        return False

    def _feed_one(
        self, token: int, log_prob: float | None, asked: Asked, *, is_form: bool = True
    ) -> bool:
        """False where the answer has its most tokens already."""
        thought_before = self.text.thinking
        if not thought_before and asked.num_answer >= self._max_answer:
            self._cut = True
            return False
        verbatim = is_form and self._request.form is not None and not thought_before
        self.text.feed((token,), verbatim_from=self.text.num_tokens if verbatim else None)
        if not (thought_before or self.text.thinking):
            asked.num_answer += 1
            if log_prob is not None:
                asked.log_probs.append(log_prob)
            return True
        asked.num_thinking += 1
        if not thought_before and not self.text.began:
            # White space before the first thought is no answer yet.
            asked.num_thinking += asked.num_answer
            asked.num_answer = 0
            asked.log_probs.clear()
        return True

    def _restart(self, asked: Asked) -> None:
        self.text = self._prompt.answer_text(self._request.stop, "off", token_bytes=self._bytes_of)
        asked.text = self.text

    def _feed(self, said: str, log_probs: Any, asked: Asked) -> None:
        """The piece as its tokens where the server lists them, else whole."""
        parts = [_raw(one) for one in log_probs]
        if b"".join(parts) != said.encode():
            parts, log_probs = [said.encode()], ()
        for number, part in enumerate(parts):
            self._pieces.append(part)
            log_prob = float(log_probs[number]["logprob"]) if log_probs else None
            if not self._feed_one(len(self._pieces) - 1, log_prob, asked):
                return

    def _count(self, usage: dict[str, Any], asked: Asked) -> None:
        if not usage:
            return
        asked.num_prompt = int(usage.get("prompt_tokens") or asked.num_prompt)
        self._num_completion = usage.get("completion_tokens")
        details = usage.get("prompt_tokens_details") or {}
        asked.num_reused = int(details.get("cached_tokens") or 0)

    def settle(self, asked: Asked) -> None:
        """It ended: what the server counted itself is the truth."""
        if self._reasoning:
            asked.thoughts = "".join(self._reasoning).strip()
        if self._num_completion is not None and not asked.log_probs:
            asked.num_answer = max(0, int(self._num_completion) - asked.num_thinking)


def _raw(one: Any) -> bytes:
    raw = one.get("bytes") if isinstance(one, dict) else None
    if isinstance(raw, list):
        return bytes(raw)
    return str(one.get("token", "")).encode() if isinstance(one, dict) else b""
