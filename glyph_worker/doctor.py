"""Examines this installation: versions, Redis, model, device, fonts, workers; a fix per fault."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel

from glyph_worker.errors import GlyphError
from glyph_worker.settings import PREFIX, Settings, set_by
from glyph_worker.traces import Traces

if TYPE_CHECKING:
    from glyph_worker.store.workers import WorkerInfo


OLDEST_REDIS = (6, 2)
"""With GETEX and LMOVE."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    what: str
    level: Literal["ok", "note", "fault"]
    found: str
    fix: str = ""


def examine() -> list[Finding]:
    """All findings, in the order in which one would mend them. Raises nothing of its own."""
    findings = [_python(), *_packages()]
    try:
        settings = Settings.load()
    except GlyphError as exc:
        return [*findings, Finding(what="settings", level="fault", found=str(exc), fix="see above")]
    findings.append(Finding(what="settings", level="ok", found="every GLYPH_* name is known"))
    checks = (
        _redis, _workers, _gateway, _flower, _traces, _overload, _device, _compiler, _model, _style,
    )  # fmt: skip
    for check in checks:
        findings += _guarded(check, settings)
    return findings


def _guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    name = check.__name__.strip("_")
    findings = []
    try:
        for finding in check(settings):
            findings.append(finding)  # what was found before a fault stays found
    except GlyphError as exc:
        message, _, fix = str(exc).rpartition("; ")
        found, fix = (message, fix) if message else (fix, "")
        findings.append(Finding(what=name, level="fault", found=found, fix=fix))
    except ImportError as exc:
        fix = "pip install 'glyph_worker[all]'"
        findings.append(Finding(what=name, level="note", found=f"not examined: {exc}", fix=fix))
    return findings


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(what="python", level="ok", found=found)


_NEEDED = {
    "celery": "", "kombu": "", "redis": "", "msgpack": "", "pillow": "render", "numpy": "render",
    "torch": "answer", "transformers": "answer", "flower": "flower",
    "fastapi": "gateway", "uvicorn": "gateway", "selectolax": "intake", "pypdfium2": "intake",
}  # fmt: skip


def _packages() -> Iterator[Finding]:
    for name, extra in _NEEDED.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            fix = f"pip install 'glyph_worker[{extra or 'all'}]'"
            level: Literal["note", "fault"] = "note" if extra else "fault"
            yield Finding(what=name, level=level, found="not installed", fix=fix)
            continue
        number = tuple(int(part) for part in version.split(".")[:2])
        if name in ("celery", "kombu") and not (5, 7) <= number < (5, 8):
            yield Finding(
                what=name, level="fault", found=version,
                fix=f"pip install '{name}>=5.7,<5.8': the lease and the pool lean on it",
            )  # fmt: skip
        else:
            yield Finding(what=name, level="ok", found=version)


def _redis(settings: Settings) -> Iterator[Finding]:
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


def _workers(settings: Settings) -> Iterator[Finding]:
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
    yield from _styles(living)
    yield from _engines(living)


def _styles(living: list[WorkerInfo]) -> Iterator[Finding]:
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


def _engines(living: list[WorkerInfo]) -> Iterator[Finding]:
    """How the answer workers compute, and every faster way that one of them could not use."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for info in living:
        if info.backend:
            host = info.name.partition(":")[0]
            alike.setdefault((info.backend, info.refusals), []).append(host)
    for (backend, refusals), hosts in sorted(alike.items()):
        where = ", ".join(sorted(set(hosts))[:4])
        yield from _attention(f"workers' attention ({where})", backend, refusals)


def _attention(what: str, backend: str, refusals: Iterable[str]) -> Iterator[Finding]:
    yield Finding(what=what, level="ok", found=backend)
    for refusal in refusals:
        yield Finding(
            what=what, level="fault", found=f"slower than wanted, refused {refusal}",
            fix="mend that, or choose what is used: GLYPH_ENGINE_ATTENTION=torch, "
            "GLYPH_OFF=compile,cuda_graphs",
        )  # fmt: skip


def _gateway(settings: Settings) -> Iterator[Finding]:
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


def _flower(_: Settings) -> Iterator[Finding]:
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


def _traces(settings: Settings) -> Iterator[Finding]:
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


def _overload(settings: Settings) -> Iterator[Finding]:
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


def _device(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        raise ImportError("torch is not installed")
    import torch

    from glyph_worker.model.formats import cpu_formats, instruction_set

    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        name = torch.cuda.get_device_name()
        found = f"cuda, {name}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        yield Finding(what="device", level="ok", found=found)
    elif settings.device.startswith("cuda"):
        yield Finding(
            what="device", level="fault", found=f"{settings.device} asked for, no CUDA device seen",
            fix="check nvidia-smi and that torch is a CUDA build, or set GLYPH_DEVICE=cpu",
        )  # fmt: skip
    else:
        fast = sorted(cpu_formats())
        found = f"cpu, {torch.get_num_threads()} threads, {instruction_set()}: {', '.join(fast)}"
        yield Finding(what="device", level="ok", found=found)
        if settings.dtype not in ("auto", *fast):
            yield Finding(
                what="dtype", level="note",
                found=f"{settings.dtype} is only stored: this CPU multiplies it in float32",
                fix="GLYPH_DTYPE=auto, unless memory for twice the bytes is missing",
            )  # fmt: skip


def _compiler(settings: Settings) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        raise ImportError("torch is not installed")
    import torch

    from glyph_worker.model.toolchain import compiler, kernel_cache, toolchain_fault

    fault = toolchain_fault()
    if fault is None:
        found = f"{compiler()} builds what loads in {kernel_cache()}"
        yield Finding(what="compiler", level="ok", found=found)
    elif settings.device == "cpu" or not torch.cuda.is_available():
        found = f"{fault.partition('; ')[0]}; not needed on the CPU"
        yield Finding(what="compiler", level="ok", found=found)
    else:
        found, _, fix = fault.partition("; ")
        found = f"{found}: Triton and torch.compile cannot be used"
        yield Finding(what="compiler", level="fault", found=found, fix=fix)


def _model(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.engine.engine import prepare, vision_refusals
    from glyph_worker.engine.selftest import choose_backend
    from glyph_worker.model.checkpoint import load_reader
    from glyph_worker.render.choose import checkpoint_folder

    folder = checkpoint_folder(settings.model)
    reader = load_reader(folder, device=settings.device, dtype=settings.dtype)
    found = f"{settings.model} ({reader.identity[:12]}), hidden size {reader.hidden_size}"
    yield Finding(what="model", level="ok", found=found)
    # As a worker here would choose, self-test and all.
    prepare(reader, settings.engine)
    backend, refusals = choose_backend(reader, settings.engine)
    refused = [str(refusal) for refusal in [*refusals, *vision_refusals(reader)]]
    yield from _attention("attention", f"{backend.name} on {reader.device}", refused)


def _style(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.render.choose import resolve_style

    style = resolve_style(settings, "auto")
    yield Finding(what="style", level="ok", found=f"{style.name} ({style.digest[:12]})")


def describe_settings(settings: Settings) -> list[dict[str, str]]:
    """Every setting: its variable, its value (secrets hidden), its meaning."""
    return list(_described(settings, PREFIX))


def _described(section: BaseModel, prefix: str) -> Iterator[dict[str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _described(value, f"{prefix}{name.upper()}_")
        elif set_by(field) == "user":
            meaning = " ".join((field.description or "").split())
            yield {"variable": f"{prefix}{name.upper()}", "value": str(value), "meaning": meaning}
