"""Our broker in Flower's words: its own client reads fewer URLs than ours. No I/O."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from glyph_worker.store.url import RedisUrl


def flower_url(server: RedisUrl) -> str:
    """With its password: what Flower's own client reads."""
    login = ""
    if server.password or server.username:
        login = f"{quote(server.username or '', '')}:{quote(server.password or '', '')}@"
    if server.path:
        return f"redis+socket://{login}{server.path}"
    scheme = "sentinel" if server.master else server.scheme
    host, port = server.hosts[0]
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{login}{named}:{port}/{server.db}"


def flower_options(server: RedisUrl) -> dict[str, Any]:
    """What stands beside the URL for Flower's own client, as Celery's settings."""
    options: dict[str, Any] = {}
    tls = {name: value for name, value in server.options.items() if name.startswith("ssl_")}
    if server.tls:
        options["broker_use_ssl"] = tls or {"ssl_cert_reqs": "required"}
    if server.master:
        to_sentinel = {**server.sentinel_login, **({"ssl": True, **tls} if server.tls else {})}
        options["broker_transport_options"] = {
            "master_name": server.master,
            "sentinel_kwargs": to_sentinel,
        }
    return options
