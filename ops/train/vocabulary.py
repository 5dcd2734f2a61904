"""The reader's alphabet: which characters are tokens, and which ids the specials have."""

from __future__ import annotations

SPECIALS = (
    "<|endoftext|>",
    "<unk>",
    "[gMASK]",
    "<sop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|begin_of_image|>",
    "<|image|>",
    "<|end_of_image|>",
    "<|begin_of_video|>",
    "<|video|>",
    "<|end_of_video|>",
)
ASCII = "".join(chr(code) for code in range(0x20, 0x7F))
LATIN = "".join(chr(code) for code in range(0xA1, 0x100) if code != 0xAD)
OTHERS = "–—‘’“”„•…€™→←≤≥≠−·".replace("·", "")  # the middle dot is Latin-1 already
CHARACTERS = ASCII + LATIN + OTHERS
TOKENS = (*SPECIALS, "\n", *CHARACTERS)
ID = {token: index for index, token in enumerate(TOKENS)}
VOCAB_SIZE = 256  # rounded up: the embedding's spare rows are never used

PAD = ID["<|endoftext|>"]
UNKNOWN = ID["<unk>"]
SPACE = ID[" "]
IMAGE = ID["<|image|>"]
END = (ID["<|user|>"], ID["<|endoftext|>"])

PROMPT_HEAD = (ID["[gMASK]"], ID["<sop>"], ID["<|user|>"], ID["\n"])
PAGE_OPEN = ID["<|begin_of_image|>"]
PAGE_CLOSE = ID["<|end_of_image|>"]
ANSWER_HEAD = (ID["<|assistant|>"], ID["\n"])


def encode(text: str) -> list[int]:
    """One token id per character; what the alphabet lacks becomes `<unk>`."""
    return [ID.get(char, UNKNOWN) for char in text]


def decode(ids: list[int]) -> str:
    """The text of an answer: everything up to the first end token, specials dropped."""
    chars = []
    for token in ids:
        if token in END:
            break
        if token >= len(SPECIALS) and token < len(TOKENS):
            chars.append(TOKENS[token])
    return "".join(chars)


assert len(TOKENS) <= VOCAB_SIZE
assert len(ID) == len(TOKENS)
