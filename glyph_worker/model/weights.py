"""Weights from a checkpoint's files onto the device, one after the other: no second copy anywhere.

The library reads a checkpoint through a quantizer where one is named, tensor by tensor, and asks it
what becomes of each. Ours places every tensor on the device as it is read, and makes integers of
the language model's matrices before the next one comes: neither the whole model in host memory nor
the whole 16-bit model on the device ever stands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from glyph_worker.errors import ModelUnusable
from glyph_worker.model.families.family import Family
from glyph_worker.model.int8 import Int8Module, language_matrices, quantised

_METHOD = "glyph_placement"


@register_quantization_config(_METHOD)
class _Placement(QuantizationConfigMixin):  # type: ignore[misc]
    """What the library hands to `_Placer`."""

    def __init__(self, place: torch.device, matrices: Callable[[Any], list[nn.Module]]) -> None:
        super().__init__(_METHOD)
        self.place = place
        self.matrices = matrices
        """Of the library's model: those that become integers."""


@register_quantizer(_METHOD)
class _Placer(HfQuantizer):  # type: ignore[misc]
    """Every tensor goes to the device as it comes, matrices as integers."""

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        wanted = {id(module) for module in self.quantization_config.matrices(model)}
        # The last layer may be the embedding's own weight; before loading the two are not one yet.
        tied = set(model.all_tied_weights_keys)
        for name, module in list(model.named_modules()):
            if id(module) in wanted and f"{name}.weight" not in tied:
                model.set_submodule(name, Int8Module.like(module))

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
        return True  # that is, pass through `_Place`

    def get_quantize_ops(self) -> ConversionOps:
        return _Place(self.quantization_config.place)

    @property
    def is_trainable(self) -> bool:
        return False

    def is_serializable(self) -> bool:
        return False


class _Place(ConversionOps):  # type: ignore[misc]
    def __init__(self, place: torch.device) -> None:
        self._place = place

    @torch.no_grad()
    def convert(
        self, input_dict: dict[str, Any], model: Any = None, full_layer_name: str = "", **_: Any
    ) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, found in input_dict.items():
            target = full_layer_name or name
            tensor = (found[0] if isinstance(found, list) else found).to(self._place)
            owner, kind = target.rsplit(".", 1) if "." in target else ("", target)
            module = model.get_submodule(owner)
            expected = getattr(module, kind)
            if tensor.shape != expected.shape:
                raise ValueError(f"{target} is {[*tensor.shape]}, not {[*expected.shape]}")
            if isinstance(module, Int8Module) and kind == "weight":
                out[target], out[f"{owner}.scale"] = quantised(tensor)
                continue
            out[target] = tensor.to(expected.dtype) if tensor.is_floating_point() else tensor
        return out


def load_weights(
    folder: Path,
    library: Any,
    family: Family,
    *,
    dtype: torch.dtype,
    place: torch.device,
    int8: bool,
) -> Any:
    """The library's model on its device, in evaluation mode. Raises ModelUnusable.

    With `int8` the language model's matrices are `Int8Module`s, and the library's own forward
    computes with them.
    """
    from safetensors import SafetensorError
    from transformers.utils import logging as library_logging

    def matrices(model: Any) -> list[nn.Module]:
        return language_matrices(family.language(model)) if int8 else []

    bars, loudness = library_logging.is_progress_bar_enabled(), library_logging.get_verbosity()
    library_logging.disable_progress_bar()
    library_logging.set_verbosity_error()  # what it would warn of is raised below
    try:
        model, found = library.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            local_files_only=True,
            output_loading_info=True,
            quantization_config=_Placement(place, matrices),
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as exc:
        raise ModelUnusable(
            f"the weights in {folder} cannot be loaded: {_first_line(exc)}; "
            "download the checkpoint again, all *.safetensors files and their index",
            path=str(folder),
        ) from exc
    finally:
        library_logging.set_verbosity(loudness)
        if bars:
            library_logging.enable_progress_bar()
    missing = sorted(found["missing_keys"])
    if missing:  # the library would fill them with noise and answer nonsense
        raise ModelUnusable(
            f"{len(missing)} weights are missing in {folder}, the first is {missing[0]}; "
            "download the checkpoint again, all *.safetensors files and their index",
            path=str(folder),
            num_missing=len(missing),
        )
    del model.config.quantization_config
    # Buffers that no file holds are still where they were made.
    return model.to(place).eval().requires_grad_(False)


def _first_line(exc: BaseException) -> str:
    return str(exc).strip().split("\n", 1)[0][:300]
