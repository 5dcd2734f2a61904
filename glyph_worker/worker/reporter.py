"""Tells the cluster's tally what jobs took and how engine and device are. Never fails a job."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any, Protocol

import structlog

from glyph_worker.errors import GlyphError
from glyph_worker.job import Answer
from glyph_worker.store.tally import Tally

log = structlog.get_logger(__name__)

PERIOD_S = 1.0


class HasStats(Protocol):
    def stats(self) -> Any: ...


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

    def poll(self, engine: HasStats, *, now: bool = False) -> None:
        """Once a second: flush the sums, say how the engine is."""
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PERIOD_S
        try:
            self._tally.flush()
            found = engine.stats()
            stats = {
                name: float(value)
                for name, value in dataclasses.asdict(found).items()
                if isinstance(value, (int, float))
            }
            uuid = getattr(found, "device_uuid", "")
            self._tally.announce(self._worker, stats | self._device.read(uuid))
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
