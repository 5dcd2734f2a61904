"""vLLM as one would run it: its own server, asked over HTTP by the Celery tasks of a web backend.

The server is a process of the Python that `PEER_VLLM_PYTHON` names. A task draws its document's
pages by our renderer and sends them with the question, as its chat interface wants them.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.article_pages import draw
from bench.article_rows import VLLM_IMAGES, VLLM_KV_GB, VLLM_TOKENS
from glyph_worker.local.server import free_port

NUM_TASKS = 32
"""Tasks that wait for the server at once: more than it batches."""
START_S = 900.0
"""Its first start compiles."""


def openmp() -> dict[str, str]:
    """vLLM is faster with Intel's OpenMP, where its environment has it."""
    path = Path(os.environ["PEER_VLLM_PYTHON"]).absolute().parents[1] / "lib/libiomp5.so"
    return {"LD_PRELOAD": str(path)} if path.exists() else {}


class VllmServer:
    """The server process and its children. Loads when made; `url` answers then."""

    def __init__(self, model: str, *more: str) -> None:
        """`more` are further arguments of its command line."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [
                os.environ["PEER_VLLM_PYTHON"], "-m", "vllm.entrypoints.openai.api_server",
                "--model", model, "--served-model-name", "peer", "--dtype", "float32",
                "--host", "127.0.0.1", "--port", str(port), "--enable-prefix-caching",
                "--max-model-len", str(VLLM_TOKENS), "--skip-mm-profiling",
                "--limit-mm-per-prompt", json.dumps({"image": VLLM_IMAGES, "video": 0}), *more,
            ],
            env=os.environ | openmp() | {
                "VLLM_CPU_KVCACHE_SPACE": VLLM_KV_GB,
                "VLLM_SERVER_DEV_MODE": "1",  # offers the calls that empty its caches
                "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_HOST_IP": "127.0.0.1",
            },
            stdout=sys.stderr,
        )  # fmt: skip
        try:
            self._await_start()
        except BaseException:  # a SIGTERM too: nobody holds it yet who could stop it
            self.stop()
            raise

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"vLLM's server does not come up at {self.url}")
            time.sleep(0.5)

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False

    def forget(self) -> None:
        """Empty its caches of prefixes, images and page features."""
        for cache in ("prefix", "mm", "encoder"):
            httpx.post(f"{self.url}/reset_{cache}_cache", timeout=60).raise_for_status()

    def pids(self) -> list[int]:
        return [self._process.pid, *(child.pid for child in self._children())]

    def _children(self) -> list[psutil.Process]:
        try:
            return list(psutil.Process(self._process.pid).children(recursive=True))
        except psutil.NoSuchProcess:  # it ended by itself
            return []

    def stop(self) -> None:
        family = self._children()
        self._process.terminate()
        _, left = psutil.wait_procs(family, timeout=20)
        for child in left:
            child.kill()
        self._process.wait()


class Served:
    """What a task does: draw, send, wait."""

    def __init__(self, url: str, style: dict[str, Any], answer_tokens: int) -> None:
        self._http = httpx.Client(base_url=url, timeout=600, limits=httpx.Limits(
            max_connections=NUM_TASKS, max_keepalive_connections=NUM_TASKS))  # fmt: skip
        self._style = style
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

        urls = []
        for page in draw(document, self._style):
            file = io.BytesIO()
            Image.fromarray(page.pixels).save(file, "PNG", compress_level=1)
            urls.append(f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
        return urls
