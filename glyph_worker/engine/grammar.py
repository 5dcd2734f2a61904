"""Which tokens may come next in an answer that has a form: one bit per token of the vocabulary.

llguidance compiles a form and keeps its state; here are its limits, its cache, and its errors in
the caller's words. A form is compiled in its caller's thread, outside Python's lock; what compiling
and a step's mask may cost is bounded by work done, not by a clock, so that the same form fails or
passes everywhere.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from glyph_worker.answer_form import AnswerForm, Path, parts_of, shown_path
from glyph_worker.errors import InvalidSchema
from glyph_worker.model.prompt import Prompt

TokenMask = npt.NDArray[np.int32]
"""Bit t % 32 of word t // 32 says whether token t may come next."""

MAX_COMPILED = 128
"""Forms kept compiled, the last used; some 100 KB each."""
COMPILE_FUEL = 250_000
"""Units of the lexer's work on a form and its first mask: about a second of one core."""
MAX_ROW_ITEMS = 10_000
"""Ways on from one place of an answer: as many as a schema has optional members, and some."""
STEP_FUEL = 50_000
"""The same for each later mask: it holds up the whole batch."""
MAX_REMEMBERED = 4_096
"""Texts that must come next, with their tokens."""
MAX_SEARCHED = 300
"""Parts of a schema that are compiled alone to find the one that is wrong."""
JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As most JSON that models have read: a space behind commas and colons, and no other."""
_OWN_STATE = re.compile(r"\n<state>.*", re.DOTALL)


class Grammars:
    """Forms compiled for one checkpoint's vocabulary. Thread-safe."""

    def __init__(self, prompt: Prompt, vocabulary: int) -> None:
        """`vocabulary`: the width of the model's logits, which may be more than it has tokens."""
        self._prompt = prompt
        self.num_words = (vocabulary + 31) // 32
        self._vocabulary = vocabulary
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[AnswerForm, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()
        self.ends = frozenset(prompt.eos_token_ids) | self._answer_ends()
        """Tokens that end an answer that has a form."""

    @property
    def num_compiled(self) -> int:
        return len(self._compiled)

    def start(self, form: AnswerForm) -> Grammar:
        """A new answer's state. Raises InvalidSchema."""
        with self._lock:
            tokenizer = self._own_tokenizer()
            found = self._compiled.get(form)
            if found is not None:
                self._compiled.move_to_end(form)
        if found is None:
            found = _compile(form, tokenizer)
            with self._lock:
                self._compiled[form] = found
                while len(self._compiled) > MAX_COMPILED:
                    self._compiled.popitem(last=False)
        return Grammar(found.deep_copy(), partial(self._forget, form))

    def _forget(self, form: AnswerForm) -> None:
        """It came to its limits, which all copies of what was compiled share."""
        with self._lock:
            self._compiled.pop(form, None)

    def _answer_ends(self) -> frozenset[int]:
        mark = self._prompt.thought.answer_end
        token = self._prompt.tokenizer.get_added_vocab().get(mark)
        return frozenset() if token is None else frozenset((token,))

    def _own_tokenizer(self) -> LLTokenizer:
        """Built when the first form comes: most of a second for 150,000 tokens."""
        if self._tokenizer is None:
            vocabulary = _Vocabulary(self._prompt, self._vocabulary, self.ends)
            self._tokenizer = LLTokenizer(
                TokenizerWrapper(vocabulary),
                n_vocab=self._vocabulary,
                eos_token=sorted(self.ends) or None,
            )
        return self._tokenizer


class Grammar:
    """How far one answer is in its form. Used by one thread at a time."""

    def __init__(self, matcher: LLMatcher, forget: Callable[[], None]) -> None:
        """`forget` is called when the compiled form must not be used again."""
        self._matcher = matcher
        self._forget = forget

    def fill(self, mask: TokenMask) -> None:
        """Set the bits of what may come next. Raises InvalidSchema where the form is too much."""
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if self._matcher.is_error():
            raise self._too_much()

    def take(self, token_id: int) -> None:
        """This token came; it was allowed. Raises InvalidSchema."""
        if not self._matcher.consume_token(token_id):
            raise self._too_much()

    @property
    def complete(self) -> bool:
        """Whether nothing but the end may follow."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def _too_much(self) -> InvalidSchema:
        self._forget()
        return InvalidSchema(
            f"the answer's form cannot be followed any further: {_fault(self._matcher)}"
        )


def _compile(form: AnswerForm, tokenizer: LLTokenizer) -> LLMatcher:
    matcher, fault = _tried(_grammar(form), tokenizer)
    if not fault:
        return matcher
    if form.kind != "json_schema":
        what = "regex" if form.kind == "regex" else "choices"
        raise InvalidSchema(f"{what} cannot be used: {fault}", option=what, path=what)
    path = _wrong_part(json.loads(form.source), tokenizer)
    where = shown_path(("response_format", "json_schema", "schema", *path))
    raise InvalidSchema(f"{where} cannot be used: {fault}", option="response_format", path=where)


def _grammar(form: AnswerForm) -> str:
    if form.kind == "regex":
        return LLMatcher.grammar_from_regex(form.source)
    if form.kind == "choices":
        # A schema's enum without its quotes: each choice as a literal of the grammar.
        literals = " | ".join(json.dumps(one) for one in json.loads(form.source))
        return LLMatcher.grammar_from_lark(f"start: {literals}")
    return _schema_grammar(json.loads(form.source))


def _schema_grammar(schema: dict[str, Any]) -> str:
    return LLMatcher.grammar_from_json_schema(schema, overrides=JSON_STYLE)  # type: ignore[arg-type]


def _tried(grammar: str, tokenizer: LLTokenizer) -> tuple[LLMatcher, str]:
    """The matcher, and what is wrong; '' where nothing is."""
    limits = LLParserLimits(
        initial_lexer_fuel=COMPILE_FUEL,
        step_lexer_fuel=STEP_FUEL,
        max_items_in_row=MAX_ROW_ITEMS,
        step_max_items=10 * MAX_ROW_ITEMS,
    )
    matcher = LLMatcher(tokenizer, grammar, limits=limits, log_level=0)
    # The first mask does most of the work, and may spend all its fuel; the second says so.
    for _ in range(2):
        if matcher.is_error():
            break
        first = matcher.deep_copy()
        first.compute_bitmask()
        if first.is_error():
            return matcher, _fault(first)
    return matcher, _fault(matcher)


def _wrong_part(schema: dict[str, Any], tokenizer: LLTokenizer) -> Path:
    """The innermost part that is wrong alone as well; () where only the whole is."""
    definitions: dict[str, Any] = {
        name: schema[name] for name in ("$defs", "definitions") if name in schema
    }
    wrong: Path = ()
    num_left = MAX_SEARCHED
    while True:
        here: Any = schema
        for step in wrong:
            here = here[step]
        for path, part in parts_of(here, wrong):
            if not isinstance(part, dict) or num_left == 0:
                continue
            num_left -= 1
            if _tried(_schema_grammar({**definitions, **part}), tokenizer)[1]:
                wrong = path
                break
        else:
            return wrong


def _fault(matcher: LLMatcher) -> str:
    """What is wrong, on one line, without the compiler's own state; '' where nothing is."""
    words = " ".join(_OWN_STATE.sub("", matcher.get_error()).split())[:300]
    if words.startswith("NoExtension"):
        return "this checkpoint can write nothing that fits"
    if words.startswith("lexer error"):
        return "it takes more work than is allowed; use fewer repetitions within repetitions"
    return words


class _Vocabulary:
    """The model's tokens as the compiler wants them."""

    def __init__(self, prompt: Prompt, size: int, ends: Iterable[int]) -> None:
        added = prompt.tokenizer.added_tokens_decoder
        self.eos_token_id = min(ends, default=0)
        self.bos_token_id = None
        num_known = len(prompt.tokenizer)
        self.tokens = [
            prompt.token_bytes(token) if token < num_known else b"" for token in range(size)
        ]
        # Added tokens are never part of an answer that has a form, special or not.
        self.special_token_ids = sorted({*added, *ends})
        special = set(self.special_token_ids)
        self._by_bytes = {
            raw: token for token, raw in enumerate(self.tokens) if raw and token not in special
        }
        self._longest = max(map(len, self._by_bytes), default=0)
        self._prompt = prompt
        # Asked at every token of a member's name, by each answer with the same schema again.
        self._remembered = lru_cache(MAX_REMEMBERED)(self._tokens)

    def __call__(self, text: str | bytes) -> Sequence[int]:
        """Tokens of a text that must come next: as the model itself would write it, or else by the
        longest token that fits, as far as there is one."""
        return self._remembered(text)

    def _tokens(self, text: str | bytes) -> Sequence[int]:
        raw = text.encode() if isinstance(text, str) else bytes(text)
        tokens = self._prompt.plain_tokens(raw.decode("utf-8", "replace"))
        if b"".join(self.tokens[token] for token in tokens) == raw:
            return tokens
        tokens, at = [], 0
        while at < len(raw):
            ends = range(min(len(raw), at + self._longest), at, -1)
            found = next((end for end in ends if raw[at:end] in self._by_bytes), None)
            if found is None:
                break
            tokens.append(self._by_bytes[raw[at:found]])
            at = found
        return tokens
