"""Whom this installation reaches: broker, cache, workers, gateway, Flower, collector of traces."""

from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from glyph_worker.doctor.finding import Finding, attention
from glyph_worker.settings import Settings
from glyph_worker.traces import Traces

if TYPE_CHECKING:
    from glyph_worker.store.workers import WorkerInfo

OLDEST_REDIS = (6, 2)
"""With GETEX and LMOVE."""


def redis(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.local.server import find_server
    from glyph_worker.store.connection import connect
    from glyph_worker.store.url import hidden

    if settings.broker_url is None:
        server = find_server()
        yield Finding(
            what="broker",
            level="note" if server else "fault",
            found=f"GLYPH_BROKER_URL is not set; `up` and `demo` start {server or 'nothing'}",
            fix="" if server else "set GLYPH_BROKER_URL or pip install 'glyph_worker[embedded]'",
        )
        return
    assert settings.cache_server is not None  # the broker's, if no other
    urls = {"broker": settings.broker_url, "cache": settings.cache_server}
    for what, secret in urls.items():
        url = secret.get_secret_value()
        with connect(url, timeout_s=2, num_retries=0) as client:
            info = cast("dict[str, Any]", client.info())
            policy = info.get("maxmemory_policy", "unknown")
        version = info.get("valkey_version") or info["redis_version"]
        found = f"{hidden(url)}, version {version}"
        # Valkey names the Redis it is compatible with in `redis_version`.
        if tuple(int(part) for part in info["redis_version"].split(".")[:2]) < OLDEST_REDIS:
            fix = "Redis 6.2 or newer, or any Valkey; see ops/docs/redis.md"
            yield Finding(what=what, level="fault", found=f"{found} is too old", fix=fix)
        else:
            yield Finding(what=what, level="ok", found=found)
        if what == "broker" and policy != "noeviction":
            yield Finding(
                what="broker", level="fault", found=f"maxmemory-policy is {policy}",
                fix="CONFIG SET maxmemory-policy noeviction: eviction destroys queues and records",
            )  # fmt: skip
        if what == "broker" and not info.get("aof_enabled"):
            yield Finding(
                what="broker", level="note", found="no append-only file: a crash loses jobs",
                fix="CONFIG SET appendonly yes",
            )  # fmt: skip
        # How many are good is told only where too few of them stop the writes.
        guarded = "min_slaves_good_slaves" in info
        if what == "broker" and info.get("connected_slaves") and not guarded:
            yield Finding(
                what="broker", level="note",
                found="a replica that takes over loses what was accepted meanwhile",
                fix="CONFIG SET min-replicas-to-write 1, on both: who has no replica takes no job",
            )  # fmt: skip
        if what == "cache" and settings.cache_url is not None and not policy.startswith("allkeys"):
            yield Finding(
                what="cache", level="note", found=f"maxmemory-policy is {policy}",
                fix="CONFIG SET maxmemory-policy allkeys-lru: a full cache then forgets the oldest",
            )  # fmt: skip
    if settings.cache_url is None:
        yield Finding(
            what="cache", level="note", found="shares the broker's server",
            fix="set GLYPH_CACHE_URL to a second server with allkeys-lru for real use",
        )  # fmt: skip


def workers(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.store.connection import connect
    from glyph_worker.store.keys import Keys
    from glyph_worker.store.workers import WorkerStore

    if settings.broker_url is None:
        return
    url = settings.broker_url.get_secret_value()
    living = WorkerStore(connect(url), Keys(settings.key_prefix)).living()
    for kind in ("render", "answer"):
        of_kind = [info for info in living if info.kind == kind]
        capacity = sum(info.capacity for info in of_kind)
        yield Finding(
            what=f"{kind} workers",
            level="ok" if of_kind else "note",
            found=f"{len(of_kind)} alive, {capacity} jobs at once",
            fix="" if of_kind else f"start one: glyph-worker worker {kind}",
        )
    yield from styles(living)
    yield from engines(living)


def styles(living: list[WorkerInfo]) -> Iterator[Finding]:
    from glyph_worker.store.workers import by_style, describe_styles

    styles = by_style(living)
    if len(styles) > 1:
        yield Finding(
            what="workers' style", level="fault",
            found=f"they draw `auto` in {len(styles)} styles, so pages are drawn twice: "
            f"{describe_styles(styles)}",
            fix="the same GLYPH_MODEL, GLYPH_RENDER_STYLE and checkpoint folder for all of them",
        )  # fmt: skip
    elif styles:
        yield Finding(what="workers' style", level="ok", found=describe_styles(styles))


def engines(living: list[WorkerInfo]) -> Iterator[Finding]:
    """How the answer workers compute, and every faster way that one of them could not use."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for info in living:
        if info.backend:
            host = info.name.partition(":")[0]
            alike.setdefault((info.backend, info.refusals), []).append(host)
    for (backend, refusals), hosts in sorted(alike.items()):
        where = ", ".join(sorted(set(hosts))[:4])
        yield from attention(f"workers' attention ({where})", backend, refusals)


def gateway(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("fastapi") is None:
        raise ImportError("fastapi is not installed")
    from glyph_worker.gateway.signer import Signer
    from glyph_worker.gateway.tenants import Tenants, is_loopback

    section = settings.gateway
    tenants, signer = Tenants(section), Signer(section)
    outside = not is_loopback(section.host)
    keys = "no API keys" if tenants.open else "API keys set"
    code = _answers(f"http://{section.host}:{section.port}/healthz") if section.port else None
    here = "answers" if code == 200 else "not running here"
    hooks = f"webhooks {'on' if signer.ready else 'off'}"
    found = f"{section.host}:{section.port}, {here}, {keys}, {hooks}"
    if tenants.open and outside:
        yield Finding(
            what="gateway", level="note" if section.open else "fault", found=found,
            fix="GLYPH_GATEWAY_API_KEYS=tenant:key, or keep it on 127.0.0.1",
        )  # fmt: skip
    else:
        yield Finding(what="gateway", level="ok", found=found)


def flower(_: Settings) -> Iterator[Finding]:
    port = os.environ.get("FLOWER_PORT", "5555")
    code = _answers(f"http://127.0.0.1:{port}/api/workers")
    if code == 200:
        yield Finding(
            what="flower", level="fault", found=f"open to whoever reaches port {port}",
            fix="start it with FLOWER_BASIC_AUTH=user:password",
        )  # fmt: skip
    else:
        found = "asks for a login" if code == 401 else f"not running here on port {port}"
        yield Finding(what="flower", level="ok", found=found)


def traces(settings: Settings) -> Iterator[Finding]:
    endpoint = settings.trace_endpoint
    if not endpoint:
        yield Finding(what="traces", level="ok", found="off (GLYPH_TRACE_ENDPOINT)")
        return
    Traces(endpoint, service="doctor")  # says which package is missing
    if _answers(endpoint) is None:
        yield Finding(
            what="traces", level="note", found=f"nobody answers at {endpoint}",
            fix="start a collector there (OTLP over HTTP, port 4318); spans are dropped meanwhile",
        )  # fmt: skip
    else:
        yield Finding(what="traces", level="ok", found=endpoint)


def overload(settings: Settings) -> Iterator[Finding]:
    down, up = settings.render.step_down_load, settings.render.step_up_load
    if down and up >= down:
        yield Finding(
            what="overload", level="fault", found=f"steps down from load {down:g}, up from {up:g}",
            fix="GLYPH_RENDER_STEP_UP_LOAD well below GLYPH_RENDER_STEP_DOWN_LOAD, or it swings",
        )  # fmt: skip
    else:
        found = f"willing jobs are drawn denser from load {down:g}" if down else "never denser"
        yield Finding(what="overload", level="ok", found=found)


def _answers(url: str) -> int | None:
    """The HTTP status of a look at it; None where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            status: int = reply.status
            return status
    except urllib.error.HTTPError as exc:
        exc.close()
        return exc.code
    except (OSError, ValueError):
        return None
