"""What OpenAI's response formats and reasoning settings become: options of a job."""

from __future__ import annotations

from typing import Any

from glyph_worker.errors import InvalidOption

EFFORTS: dict[str, int] = {"minimal": 256, "low": 1_024, "medium": 4_096, "high": 8_192}
"""Most tokens of a thought. OpenAI gives no numbers; the largest is what Glyph's authors allow."""


def format_options(asked: dict[str, Any] | None) -> dict[str, Any]:
    """Submit options of a chat's response format. Whether it is right, submit checks."""
    return {} if asked is None else {"response_format": asked}


def text_format_options(asked: dict[str, Any] | None) -> dict[str, Any]:
    """The same of a response's, which says beside `type` what a chat's says one level below."""
    if asked is None or asked.get("type") != "json_schema":
        return format_options(asked)
    schema = {name: value for name, value in asked.items() if name != "type"}
    return format_options({"type": "json_schema", "json_schema": schema})


def reasoning_options(effort: str | None, *, param: str) -> dict[str, Any]:
    """Submit options of a reasoning effort. Raises InvalidOption."""
    if effort is None:
        return {}
    if effort == "none":
        return {"thinking": "off"}
    if effort not in EFFORTS:
        known = ", ".join(("none", *EFFORTS))
        raise InvalidOption(f"{param} is {effort[:40]!r}; it may be {known}", param=param)
    return {"thinking": "on", "max_thinking_tokens": EFFORTS[effort]}
