"""What is on this machine: packages, device, compiler, model, style. Reaches no server."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from typing import Literal

from glyph_worker.doctor.finding import Finding, attention
from glyph_worker.settings import Settings


def python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(what="python", level="ok", found=found)


_NEEDED = {
    "celery": "", "kombu": "", "redis": "", "msgpack": "", "pillow": "render", "numpy": "render",
    "torch": "answer", "transformers": "answer", "flower": "flower",
    "fastapi": "gateway", "uvicorn": "gateway", "selectolax": "intake", "pypdfium2": "intake",
}  # fmt: skip


def packages() -> Iterator[Finding]:
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


def device(settings: Settings) -> Iterator[Finding]:
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


def compiler(settings: Settings) -> Iterator[Finding]:
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


def model(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.engine.prepare import prepare, vision_refusals
    from glyph_worker.engine.selftest import choose_backend
    from glyph_worker.model.checkpoint import load_reader
    from glyph_worker.render.choose import checkpoint_folder

    folder = checkpoint_folder(settings.model)
    reader = load_reader(folder, device=settings.device, dtype=settings.dtype)
    found = f"{settings.model} ({reader.identity[:12]}), family {reader.family.name}"
    yield Finding(what="model", level="ok", found=found)
    reason = f"{reader.dtype_name}: {reader.format_reason}"
    yield Finding(what="format", level="ok", found=reason)
    # As a worker here would choose, self-test and all.
    prepare(reader, settings.engine)
    backend, refusals = choose_backend(reader, settings.engine)
    refused = [str(refusal) for refusal in [*refusals, *vision_refusals(reader)]]
    yield from attention("attention", f"{backend.name} on {reader.device}", refused)


def style(settings: Settings) -> Iterator[Finding]:
    from glyph_worker.render.choose import resolve_style

    style = resolve_style(settings, "auto")
    yield Finding(what="style", level="ok", found=f"{style.name} ({style.digest[:12]})")
