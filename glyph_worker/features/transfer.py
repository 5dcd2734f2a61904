"""Features between device and host memory. Copies only; on the CPU it copies nothing."""

from __future__ import annotations

import torch


class Transfer:
    """Uploads and downloads on a stream of its own, through pinned memory. One thread each."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cuda = device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None

    def _side(self) -> torch.cuda.Stream:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return self._stream

    def upload(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Host tensors to the device; complete when it returns."""
        if not self._cuda:
            return features
        with torch.cuda.stream(self._side()):
            pinned = [one.pin_memory() for one in features]
            arrived = [one.to(self._device, non_blocking=True) for one in pinned]
        self._side().synchronize()
        for one in arrived:  # made on our stream, used on the caller's: keep the memory from both
            one.record_stream(torch.cuda.default_stream(self._device))
        return arrived

    def download(self, features: torch.Tensor) -> torch.Tensor:
        """A device tensor to the host; complete when it returns. It must be computed already."""
        if not self._cuda:
            return features
        with torch.cuda.stream(self._side()):
            host = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
            host.copy_(features, non_blocking=True)
        self._side().synchronize()
        return host
