"""Text for a terminal: what is printed is data, and nothing in it is markup or control.

The consoles know no markup, and control characters show as escapes, so that no answer, question or
message can colour, move or hide text.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

Part = str | tuple[str, str]
"""Text, or text and its style (`bold red`)."""

_HIDDEN = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F),
           *range(0x2066, 0x206A))  # fmt: skip
"""C0, C1, and what breaks a line or reorders it unseen (bidi embeddings and isolates)."""
_ESCAPES = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in _HIDDEN
    if chr(code) not in "\n\t"
}


def console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def visible(text: str) -> str:
    """The text with control characters as escapes; line ends and tabs stay."""
    return text.translate(_ESCAPES)


def line(*parts: Part) -> Text:
    """Parts beside each other, each in its style."""
    text = Text()
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(visible(words), style)
    return text
