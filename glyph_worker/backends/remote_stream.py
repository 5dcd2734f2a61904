"""A streamed answer of OpenAI's form becomes text, thoughts, tokens and probabilities. No I/O."""

from __future__ import annotations

from typing import Any

from glyph_worker.backends.asked import Asked
from glyph_worker.engine.sequence import AnswerRequest, FinishReason
from glyph_worker.errors import EngineFault
from glyph_worker.model.prompt import Prompt


class Stream:
    """One answer. What comes is fed to the same AnswerText as our own tokens, piece by piece."""

    def __init__(self, prompt: Prompt, request: AnswerRequest, *, max_answer: int) -> None:
        """`max_answer`: tokens of the answer; the server counts thoughts and answer together."""
        self._max_answer = max_answer
        self._cut = False
        """The answer goes on beyond its most tokens."""
        self._pieces: list[bytes] = []
        self._prompt = prompt
        self._request = request
        self.text = prompt.answer_text(
            request.stop, request.thinking, token_bytes=self._pieces.__getitem__
        )
        self.reason: FinishReason | None = None
        self._reasoning: list[str] = []
        self._num_completion: int | None = None

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
        num_before = len(asked.token_ids)
        asked.token_ids += choice.get("token_ids") or ()
        thought = delta.get("reasoning") or delta.get("reasoning_content") or ""
        said = delta.get("content") or ""
        log_probs = ((choice.get("logprobs") or {}).get("content")) or ()
        if thought:
            if not self._reasoning and not asked.num_answer:
                # The server tells thoughts apart itself: what follows is all answer.
                self._restart(asked)
            self._reasoning.append(thought)
            asked.num_thinking += len(log_probs) or 1
        elif said:
            self._feed(said, log_probs, asked)
        if thought or said:
            asked.grew()
        if choice.get("finish_reason"):
            self.reason = "length" if choice["finish_reason"] == "length" else "stop"
        if self.text.stopped:
            return "stop"
        if self._cut:
            del asked.token_ids[num_before:]
        return "length" if self._cut else None

    def _restart(self, asked: Asked) -> None:
        self.text = self._prompt.answer_text(
            self._request.stop, "off", token_bytes=self._pieces.__getitem__
        )
        asked.text = self.text

    def _feed(self, said: str, log_probs: Any, asked: Asked) -> None:
        """The piece as its tokens where the server lists them, else whole."""
        parts = [_raw(one) for one in log_probs]
        if b"".join(parts) != said.encode():
            parts, log_probs = [said.encode()], ()
        verbatim = 0 if self._request.form is not None and not self.text.thinking else None
        for number, part in enumerate(parts):
            thought_before = self.text.thinking
            if not thought_before and asked.num_answer >= self._max_answer:
                self._cut = True
                return
            self._pieces.append(part)
            at = self.text.num_tokens
            self.text.feed((len(self._pieces) - 1,), verbatim_from=None if verbatim is None else at)
            if thought_before or self.text.thinking:
                asked.num_thinking += 1
                continue
            asked.num_answer += 1
            if log_probs:
                asked.log_probs.append(float(log_probs[number]["logprob"]))

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
