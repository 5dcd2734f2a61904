"""A worker tells of the GPU that it computes on, whichever number that has here."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from glyph_worker.model.checkpoint import device_uuid
from glyph_worker.worker.reporter import DeviceGauges


def test_gauges_are_those_of_the_engines_device(monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"GPU-one": 1.0, "GPU-two": 2.0}
    nvml: Any = SimpleNamespace(
        NVMLError=KeyError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: used[uuid],
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=handle, total=9),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=50),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert DeviceGauges().read("GPU-two")["device_memory_used_bytes"] == 2
    assert DeviceGauges().read("") == {}, "an engine on the CPU has none"
    assert DeviceGauges().read("GPU-gone") == {}


def test_a_device_is_named_as_nvml_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {0: "aaa", 1: "GPU-bbb"}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda d: SimpleNamespace(uuid=names[d.index])
    )
    assert device_uuid(torch.device("cuda", 0)) == "GPU-aaa"
    assert device_uuid(torch.device("cuda", 1)) == "GPU-bbb"
    assert device_uuid(torch.device("cpu")) == ""
