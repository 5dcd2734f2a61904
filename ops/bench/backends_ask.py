"""One backend asked the questions of an order on standard input, by whichever Python has it."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import numpy as np

from glyph_worker.backends.choose import start_backend
from glyph_worker.document import digest
from glyph_worker.engine.sequence import AnswerRequest, PageInput
from glyph_worker.features.types import PageRequest
from glyph_worker.settings import Settings

THREADS = 8


def ask(order: dict[str, Any]) -> list[dict[str, Any]]:
    """`settings` as Settings.load takes them; `jobs`: a page's number and a question each."""
    settings = Settings.load(environ={}, **order["settings"])
    backend = start_backend(settings, None, on_fatal=lambda exc: os._exit(70))
    side = backend.processor.patch_size * backend.processor.merge_size
    width, height = order["columns"] * side, order["rows"] * side
    recipe = backend.recipe.salted("bench")
    found: list[dict[str, Any]] = [{}] * len(order["jobs"])

    def pixels(number: int) -> np.ndarray[Any, Any]:
        y, x = np.indices((height, width))
        drawn = (x * (number % 13 + 1) + y * (number // 13 + 2)) % 11 * 23
        return np.asarray(drawn, dtype=np.uint8)

    def one(at: int) -> None:
        number, question = order["jobs"][at]
        page = digest("bench page", number)
        request = AnswerRequest(
            sequence_id=f"job-{at}",
            pages=(PageInput(digest=recipe.feature_digest(page), width=width, height=height),),
            question=question,
            max_new_tokens=order["tokens"],
        )
        result = backend.answer(
            request,
            [PageRequest(page_digest=page, width=width, height=height,
                         pixels=lambda: pixels(number))],
            salt="bench", on_progress=lambda _: None, check=lambda: None,
        ).result  # fmt: skip
        found[at] = {"token_ids": result.token_ids, "mean_log_prob": result.mean_log_prob}

    def some(first: int) -> None:
        for at in range(first, len(found), THREADS):
            one(at)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    backend.stop()
    return found


if __name__ == "__main__":
    print(json.dumps(ask(json.load(sys.stdin))))
