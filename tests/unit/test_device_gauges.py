"""A worker tells of the GPU that it computes on, whichever number that has here."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from synthetic.checkpoints import write_checkpoint

from glyph_worker.engine.engine import Engine
from glyph_worker.features.cache import FeatureCache
from glyph_worker.model.checkpoint import device_uuid, load_reader
from glyph_worker.setting_sections import EngineSettings, FeatureSettings
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


def test_threads_that_start_kernels_choose_the_readers_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread's own device is the first one until it says otherwise."""
    chosen: dict[str, torch.device] = {}

    def choose(device: torch.device) -> None:
        chosen[threading.current_thread().name] = device

    monkeypatch.setattr("glyph_worker.engine.engine.use_device", choose)
    monkeypatch.setattr("glyph_worker.features.encode.use_device", choose)
    reader = load_reader(write_checkpoint(tmp_path, "tiny"))
    engine = Engine(reader, EngineSettings(kv_bytes=8 << 20, self_test=False))
    features = FeatureCache(reader, FeatureSettings(store=False))
    engine.start()
    features.start()
    features.wait_ready(60)
    features.stop()
    engine.stop()
    assert chosen == {"engine": reader.device, "glyph-encode": reader.device}
