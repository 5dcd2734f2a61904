"""Text from outside: whether UTF-8 can hold it, and how a value is shown in a message. No I/O."""

from __future__ import annotations

from glyph_worker.errors import InvalidEncoding


def shown(value: object) -> str:
    """A value in a message: its type where that may be the fault, and never much of it."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return f"a number of {value.bit_length()} bits"  # Python refuses to print a long one
    try:
        text = ascii(value) if isinstance(value, str) and not is_text(value) else repr(value)
    except (ValueError, RecursionError):
        text = "…"
    text = text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"
    plain = value is None or isinstance(value, (bool, int, float, str))
    return text if plain else f"{text} ({type(value).__name__})"


def check_text(text: str, name: str) -> None:
    """Refuse what UTF-8 cannot hold, and NUL. Raises InvalidEncoding, naming the place."""
    for at, char in enumerate(text) if not is_text(text) or "\0" in text else ():
        if char == "\0" or "\ud800" <= char <= "\udfff":
            what = "the character NUL" if char == "\0" else f"a lone surrogate, U+{ord(char):04X},"
            raise InvalidEncoding(
                f"{name} has {what} at character {at} of {len(text)}, which is no text; "
                "remove it, or decode the source again with errors='replace'",
                option=name,
                offset=at,
            )


def is_text(value: object) -> bool:
    """A str that UTF-8 can hold: one without lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
