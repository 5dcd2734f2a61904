"""Tells the cluster's tally what jobs took and how engine and device are. Never fails a job."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import structlog

from glyph_worker.backends.backend import Backend
from glyph_worker.errors import GlyphError
from glyph_worker.job import Answer
from glyph_worker.store.tally import Tally

log = structlog.get_logger(__name__)

PERIOD_S = 1.0


class Reporter:
    """One per answer worker. `look` is called from its heartbeat."""

    def __init__(self, tally: Tally, worker: str) -> None:
        self._tally = tally
        self._worker = worker
        self._next = 0.0
        self._device = DeviceGauges()

    def add(self, answer: Answer) -> None:
        """One committed answer; in memory."""
        self._tally.add(answer.receipt)
        self._tally.add_literals(answer.receipt.model, (one.status for one in answer.literals))

    def poll(self, backend: Backend, *, now: bool = False) -> None:
        """Once a second: flush the sums, say how the backend is."""
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PERIOD_S
        try:
            self._tally.flush()
            gauges = self._device.read(backend.device_uuid)
            self._tally.announce(self._worker, backend.stats() | gauges)
        except GlyphError as exc:
            log.warning("report.missed", error=exc.code)


class DeviceGauges:
    """Memory and utilisation of the engine's CUDA device through NVML, where there is one."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._nvml: Any = None
        with contextlib.suppress(Exception):  # no library, no driver or no device: nothing to tell
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml

    def read(self, uuid: str) -> dict[str, float]:
        """Of the device of this name; nothing for none."""
        if self._nvml is None or not uuid:
            return {}
        try:
            if self._handle is None:
                self._handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
            busy = self._nvml.nvmlDeviceGetUtilizationRates(self._handle)
        except self._nvml.NVMLError:
            return {}
        return {
            "device_memory_used_bytes": float(memory.used),
            "device_memory_total_bytes": float(memory.total),
            "device_utilisation": busy.gpu / 100,
        }
