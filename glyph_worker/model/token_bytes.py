"""What bytes each token of a tokenizer stands for. Learned token by token, on first use.

A byte-level tokenizer splits a character's bytes over tokens, so a token has bytes and not always
a text. Joined and read as UTF-8 they are what the tokenizer's own `decode` gives.
"""

from __future__ import annotations

import json
import re
from typing import Any

_ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenBytes:
    """One per tokenizer; a caller that shares it between threads holds a lock of its own."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}
        self._added: dict[int, bytes] = {
            index: token.content.encode() for index, token in tokenizer.added_tokens_decoder.items()
        }
        steps = _decoder_steps(tokenizer)
        self._alphabet = _byte_alphabet() if "ByteLevel" in steps else None
        self._has_byte_tokens = "ByteFallback" in steps
        # Many decoders treat the first token alone differently: each is asked for behind this one.
        self._before: list[int] = tokenizer("a", add_special_tokens=False).input_ids[-1:]
        self._before_text: str = self._decode(self._before)

    def of(self, token_id: int) -> bytes:
        known = self._known.get(token_id)
        if known is None:
            known = self._known[token_id] = self._learn(token_id)
        return known

    def _learn(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id]
        if self._alphabet is not None or self._has_byte_tokens:
            name = self._tokenizer.convert_ids_to_tokens(token_id)
            if name is None:
                return b""
            if self._alphabet is not None:
                if all(character in self._alphabet for character in name):
                    return bytes(self._alphabet[character] for character in name)
            elif match := _ONE_BYTE.fullmatch(name):
                return bytes([int(match[1], 16)])
        both = self._decode([*self._before, token_id])
        alone = not both.startswith(self._before_text)
        return (self._decode([token_id]) if alone else both[len(self._before_text) :]).encode()

    def _decode(self, token_ids: list[int]) -> str:
        text: str = self._tokenizer.decode(
            token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text


def _decoder_steps(tokenizer: Any) -> set[str]:
    """Names of what a fast tokenizer's decoder is made of; none for a slow tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return set()
    state = json.loads(backend.decoder.__getstate__())
    return {step["type"] for step in (state, *state.get("decoders", ()))}


def _byte_alphabet() -> dict[str, int]:
    """The characters by which byte-level tokenizers write bytes (GPT-2's table): printable ones
    for themselves, the others in order from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + at): byte for at, byte in enumerate(others)
    }
