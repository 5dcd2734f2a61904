"""What the URL of a webhook or a document may be, by its syntax. Where it leads is `address`'s."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from glyph_worker.errors import WebhookRefused

MAX_URL_CHARS = 2_000


def split_webhook(url: str, *, what: str = "webhook") -> SplitResult:
    """Its parts, with a host and a port that can be read; `what` names it in messages.

    Raises WebhookRefused, saying why.
    """
    if len(url) > MAX_URL_CHARS:
        raise WebhookRefused(f"the {what} has {len(url)} characters, limit is {MAX_URL_CHARS}")
    if not url.isprintable() or any(char.isspace() for char in url):
        raise WebhookRefused(f"the {what} holds a space or a control character; percent-encode it")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as exc:
        raise WebhookRefused(f"the {what} is no URL: {exc}") from exc
    if parts.scheme not in ("http", "https") or not host:
        raise WebhookRefused(f"a {what} is an http:// or https:// URL with a host")
    if parts.username is not None or parts.password is not None:
        raise WebhookRefused(
            f"a {what}'s URL carries no user and password"
            + ("; verify its signature" if what == "webhook" else "")
        )
    if port == 0:
        raise WebhookRefused(f"the {what}'s port is 0; name the receiver's own")
    return parts
