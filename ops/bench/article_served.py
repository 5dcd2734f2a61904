"""vLLM as one would run it: its own server, asked over HTTP by the Celery tasks of a web backend.

The server is a process of the Python that `PEER_VLLM_PYTHON` names. A task draws its document's
pages by our renderer and sends them with the question, as its chat interface wants them.
"""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from here import forget_peak, peak_bytes, resident_bytes

from glyph_worker.store.embedded import free_port

NUM_TASKS = 32
"""Tasks that wait for the server at once: more than it batches."""
CONTEXT_TOKENS = 8_192
START_S = 400.0
"""Its first start compiles."""


def openmp() -> dict[str, str]:
    """vLLM is faster with Intel's OpenMP, where its environment has it."""
    path = Path(os.environ["PEER_VLLM_PYTHON"]).absolute().parents[1] / "lib/libiomp5.so"
    return {"LD_PRELOAD": str(path)} if path.exists() else {}


class VllmServer:
    """The server process and its children. Loads when made; `url` answers then."""

    def __init__(self, model: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [
                os.environ["PEER_VLLM_PYTHON"], "-m", "vllm.entrypoints.openai.api_server",
                "--model", model, "--served-model-name", "peer", "--dtype", "float32",
                "--host", "127.0.0.1", "--port", str(port), "--enable-prefix-caching",
                "--max-model-len", str(CONTEXT_TOKENS), "--skip-mm-profiling",
                "--limit-mm-per-prompt", '{"image": 32, "video": 0}',
            ],
            env=os.environ | openmp() | {
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_SERVER_DEV_MODE": "1",  # offers the calls that empty its caches
            },
            stdout=sys.stderr,
        )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"vLLM's server does not come up at {self.url}")
            time.sleep(0.5)

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False

    def forget(self) -> None:
        """Empty its caches of prefixes, images and page features, and begin its peak anew."""
        for cache in ("prefix", "mm", "encoder"):
            httpx.post(f"{self.url}/reset_{cache}_cache", timeout=60).raise_for_status()
        for pid in self._pids():
            forget_peak(pid)

    def resident_bytes(self) -> int:
        return sum(map(resident_bytes, self._pids()))

    def peak_bytes(self) -> int:
        """Of its processes, each at its own highest."""
        return sum(map(peak_bytes, self._pids()))

    def _pids(self) -> list[int]:
        family = psutil.Process(self._process.pid).children(recursive=True)
        return [self._process.pid, *(child.pid for child in family)]

    def stop(self) -> None:
        family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        _, left = psutil.wait_procs(family, timeout=20)
        for child in left:
            child.kill()
        self._process.wait()


class Served:
    """What a task does: draw, send, wait."""

    def __init__(self, url: str, style: dict[str, Any], answer_tokens: int) -> None:
        from glyph_worker.render.style import Style

        self._http = httpx.Client(base_url=url, timeout=600, limits=httpx.Limits(
            max_connections=NUM_TASKS, max_keepalive_connections=NUM_TASKS))  # fmt: skip
        self._style = Style.from_json(style)
        self._answer_tokens = answer_tokens

    def answer(self, document: str, question: str) -> str:
        content = [
            *({"type": "image_url", "image_url": {"url": url}} for url in self._pages(document)),
            {"type": "text", "text": question},
        ]
        reply = self._http.post(
            "/v1/chat/completions",
            json={
                "model": "peer", "temperature": 0, "max_tokens": self._answer_tokens,
                "messages": [{"role": "user", "content": content}],
            },
        )  # fmt: skip
        reply.raise_for_status()
        text: str = reply.json()["choices"][0]["message"]["content"] or ""
        return text

    def _pages(self, document: str) -> list[str]:
        from PIL import Image

        from glyph_worker.render import raster
        from glyph_worker.render.paginate import paginate

        urls = []
        for page in paginate(document, self._style):
            file = io.BytesIO()
            Image.fromarray(raster.draw(page)).save(file, "PNG", compress_level=1)
            urls.append(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
        return urls
