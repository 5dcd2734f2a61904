"""A torch profile of a living answer worker: SIGUSR2, and five seconds later a trace to open.

See ops/docs/profiling.md. A trace has names of operations and times, and nothing of any document.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

PROFILE_S = 5.0


class Profiler:
    """One profile at a time; a signal during one is dropped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser()
        self._busy = threading.Lock()

    def install(self, **_: Any) -> None:
        """In the main thread."""
        signal.signal(signal.SIGUSR2, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        threading.Thread(target=self._profile, name="profile", daemon=True).start()

    def _profile(self) -> None:
        import torch
        from torch._C._profiler import _ExperimentalConfig
        from torch.profiler import ProfilerActivity, profile

        if not self._busy.acquire(blocking=False):
            return
        try:
            kinds = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                kinds.append(ProfilerActivity.CUDA)
            # The engine's thread is another than this one.
            everywhere = _ExperimentalConfig(profile_all_threads=True)
            with profile(activities=kinds, experimental_config=everywhere) as profiled:
                time.sleep(PROFILE_S)
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"{os.getpid()}-{int(time.time())}.json.gz"
            written, file = self._folder / f"writing-{name}", self._folder / f"profile-{name}"
            profiled.export_chrome_trace(str(written))
            written.replace(file)  # whoever waits for it reads it whole
            log.info("worker.profiled", file=str(file), seconds=PROFILE_S)
        except Exception as exc:  # noqa: BLE001 - a profile never takes its worker along
            log.warning("worker.not_profiled", error=type(exc).__name__)
        finally:
            self._busy.release()
