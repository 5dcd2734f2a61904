"""One of each: broker, cache, render worker, answer worker and gateway, ours to kill."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
from chaos.crew import Crew
from chaos.follow import Gateway

from glyph_worker.client import Client
from glyph_worker.settings import Settings

PATIENCE_S = 300.0


class Served:
    """As a context: everything serves inside, and is gone after."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.crew = Crew(settings, folder / "crew", num_render=1, num_answer=1)
        self.environ = self.crew.environ(self.crew.broker_url, self.crew.cache_url) | {
            "OMP_NUM_THREADS": "1"
        }
        self.gateway = Gateway(folder / "gateway.log", self.environ)
        self.client = Client(self.crew.settings)
        self.url = f"http://127.0.0.1:{self.gateway.port}"

    def __enter__(self) -> Served:
        try:
            self.crew.start()
            self.gateway.start()
            until(lambda: listens(self.gateway.port), "the gateway listens")
            until(lambda: len(self.crew.serving()) == 2, "workers serve")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.stop()
        self.crew.stop()


def until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        if time.monotonic() > deadline:
            raise SystemExit(f"after {PATIENCE_S:.0f} s still not: {what}")
        time.sleep(0.1)


def listens(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
