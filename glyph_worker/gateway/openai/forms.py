"""What OpenAI's `response_format`, `text.format` and reasoning settings become. The one place.

The engine cannot yet be held to a form, so any but plain text is refused by name. Once
`SubmitOptions` has an option for it, return it here: its keys go to `Client.submit` as they are,
for chat, responses and batches alike.
"""

from __future__ import annotations

from typing import Any

from glyph_worker.errors import InvalidOption

PLAIN = ({"type": "text"},)


def format_options(asked: dict[str, Any] | None, *, param: str) -> dict[str, Any]:
    """Submit options of a response format. Raises InvalidOption."""
    if asked is None or asked in PLAIN:
        return {}
    kind = str(asked.get("type"))[:40]
    raise InvalidOption(
        f"{param} of type {kind!r} is not supported here yet; leave it out, or send "
        '{"type": "text"}',
        param=param,
    )


def reasoning_options(effort: str | None, *, param: str) -> dict[str, Any]:
    """Submit options of a reasoning effort. Raises InvalidOption."""
    if effort is None or effort == "none":
        return {}
    raise InvalidOption(
        f"{param} {effort[:40]!r} is not supported here yet; leave it out, or send 'none'",
        param=param,
    )
