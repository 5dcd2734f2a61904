"""A checkpoint folder as a Reader: the model, its prompt and its names. The one loading path.

The real `zai-org/Glyph` and the embedded reader come through here alike.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.cores import Cores
from glyph_worker.model.families.family import Family
from glyph_worker.model.families.glm import GLM
from glyph_worker.model.families.known import family_of, library_class
from glyph_worker.model.half_precision import make_half_safe
from glyph_worker.model.identity import checkpoint_digest
from glyph_worker.model.language import WeightForm
from glyph_worker.model.linear import PACK_LIMIT_BYTES, can_pack
from glyph_worker.model.processor import ProcessorConfig
from glyph_worker.model.prompt import Prompt
from glyph_worker.model.reader import Reader
from glyph_worker.model.weights import load_weights

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_reader(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    packed: bool = True,
    int8: bool = False,
    compile_vision: bool = False,
    threads: int | None = None,
) -> Reader:
    """Load a checkpoint folder of one of the known families.

    `packed` lays float32 matrices out for the CPU (faster, twice the memory), `int8` keeps the
    language model's in 8 bits. Neither changes which page features or answers are named alike.
    `dtype` `auto` is float32 on the CPU; on CUDA it is float16 where that proves safe for this
    checkpoint, else what the checkpoint declares. `threads` sets the process's threads on the CPU
    as `Cores.share` says; None leaves them alone. Raises ModelUnusable when the folder is missing,
    has no configuration, is of no known family, or its weights are missing or broken.
    """
    folder = Path(path).expanduser()
    config = read_config(folder)
    family = family_of(config, folder)
    place = pick_device(device)
    processor = read_processor(folder, family, config)
    cores: Cores | None = None
    if place.type == "cuda":
        prepare_cuda()
        use_device(place)
    elif threads is not None:
        cores = Cores.share(threads)

    def load(kind: torch.dtype, reason: str) -> Reader:
        model = load_weights(
            folder, library_class(config, family), family, dtype=kind, place=place, int8=int8
        )
        size = sum(w.numel() * w.element_size() for w in model.parameters())
        small = size <= PACK_LIMIT_BYTES and can_pack(place, kind)
        form: WeightForm = "packed" if packed and small else "plain"
        reader = Reader(
            model=model,
            family=family,
            folder=folder,
            identity=checkpoint_digest(folder),
            processor=processor,
            prompt=read_prompt(folder, family, config, model.config.image_token_id),
            form="int8" if int8 else form,
            compile_vision=compile_vision,
            cores=cores,
        )
        reader.format_reason = reason
        return reader

    if dtype == "auto" and place.type == "cuda":
        reader = _half_if_safe(load, declared_dtype(config))
    elif dtype == "auto":
        reader = load(torch.float32, "a CPU's products are no faster in 16 bit, or far slower")
    else:
        reader = load(DTYPES[dtype], "as asked for (GLYPH_DTYPE)")
        if dtype == "float16":
            reader.format_reason += f": {make_half_safe(reader).reason}"
    return reader


def _half_if_safe(load: Callable[[torch.dtype, str], Reader], declared: torch.dtype) -> Reader:
    """A float16 reader where that is safe, else one in the declared dtype."""
    reader = load(torch.float16, "")
    verdict = make_half_safe(reader)
    name = str(declared).removeprefix("torch.")
    if verdict.safe or declared == torch.float16:
        reader.format_reason = f"safe here: {verdict.reason}" if verdict.safe else verdict.reason
        return reader
    del reader
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return load(declared, f"float16 is not safe ({verdict.reason}), the checkpoint declares {name}")


def declared_dtype(config: Mapping[str, Any]) -> torch.dtype:
    """The format a checkpoint was published in; bfloat16 where it does not say."""
    text = config.get("text_config") or {}
    for part in (config, text):
        for key in ("dtype", "torch_dtype"):
            if part.get(key) in DTYPES:
                return DTYPES[part[key]]
    return torch.bfloat16


def pick_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N`. Raises ModelUnusable when there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ModelUnusable(
                f"device {name} asked for, {count} CUDA devices seen; "
                "set GLYPH_DEVICE=cpu or install a CUDA build of torch",
                device=name,
            )
        return torch.device("cuda", device.index or 0)
    return device


def device_uuid(device: torch.device) -> str:
    """What NVML knows a CUDA device by: its numbers are others where CUDA_VISIBLE_DEVICES hides or
    reorders some. Empty for other devices."""
    if device.type != "cuda":
        return ""
    properties: Any = torch.cuda.get_device_properties(device)
    uuid = str(properties.uuid)
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def use_device(device: torch.device) -> None:
    """Make this the calling thread's device. Kernels, streams and events without a device of their
    own go to a thread's current one, which is the first GPU until somebody says otherwise."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def prepare_cuda() -> None:
    """Process-wide settings for CUDA: a growing allocator, full float32 products."""
    torch.cuda.memory._set_allocator_settings("expandable_segments:True")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's configuration. Raises ModelUnusable."""
    if not folder.is_dir():
        raise ModelUnusable(
            f"no checkpoint folder at {folder}; set GLYPH_MODEL to a local folder of a checkpoint "
            "(for Glyph's own: `hf download zai-org/Glyph --local-dir DIR`)",
            path=str(folder),
        )
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as exc:
        raise ModelUnusable(
            f"{folder} holds no config.json, so it is no checkpoint folder; "
            "point GLYPH_MODEL at the folder that holds it",
            path=str(folder),
        ) from exc
    except (OSError, ValueError) as exc:
        raise ModelUnusable(
            f"config.json in {folder} cannot be read: {exc}; download it again", path=str(folder)
        ) from exc
    if not isinstance(config, dict):
        raise ModelUnusable(
            f"config.json in {folder} holds no object; download it again", path=str(folder)
        )
    return config


def read_processor(
    folder: Path, family: Family = GLM, config: Mapping[str, Any] = MappingProxyType({})
) -> ProcessorConfig:
    """The image processor's settings, from either file the library writes. Raises ModelUnusable."""
    stated: dict[str, Any] = {}
    try:
        if (folder / "preprocessor_config.json").exists():
            stated = json.loads((folder / "preprocessor_config.json").read_text())
        elif (folder / "processor_config.json").exists():
            stated = json.loads((folder / "processor_config.json").read_text())["image_processor"]
        else:
            raise FileNotFoundError("neither preprocessor_config.json nor processor_config.json")
        return family.processor(stated, config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelUnusable(
            f"the image processor settings of {folder} cannot be read ({exc}); "
            "copy preprocessor_config.json of the checkpoint beside its weights",
            path=str(folder),
        ) from exc


def read_prompt(
    folder: Path, family: Family, config: Mapping[str, Any], image_token_id: int
) -> Prompt:
    """The prompt of a checkpoint of this family. Raises ModelUnusable."""
    ends = config.get("eos_token_id", (config.get("text_config") or {}).get("eos_token_id"))
    return Prompt(
        folder,
        image_token_id=image_token_id,
        eos_token_ids=tuple(ends if isinstance(ends, list) else [] if ends is None else [ends]),
        end_words=family.end_words,
        tags=family.tags,
        frame=None if family.frame is None else (family.frame.before, family.frame.after),
    )
