"""Recording a CUDA graph: warm up, then capture, one at a time in a process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Capturing begins with a device-wide wait, which another thread's open capture may not survive.
_TURN = threading.Lock()


def capture(forward: Callable[[], Tensor], memory: Any) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """A graph of `forward` and the tensor it writes to; `memory` is a `graph_pool_handle`.

    Runs it twice before, on a stream of its own: libraries allocate and kernels compile on first
    use. Raises what torch raises when something in it cannot be captured.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph = torch.cuda.CUDAGraph()
    with _TURN:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                forward()
        torch.cuda.current_stream().wait_stream(stream)
        # Other threads may allocate meanwhile: only this one's calls count.
        with torch.cuda.graph(graph, pool=memory, capture_error_mode="thread_local"):
            out = forward()
    return graph, out
