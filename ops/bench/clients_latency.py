"""How much later than the engine's first text a chat stream's first text is with its caller."""

from __future__ import annotations

import time
from pathlib import Path

import openai

from bench.served import Served
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys

DOCUMENT = "Orchid GmbH pays 1,204.50 EUR on 2026-12-01.\n" * 10


def first_bytes(served: Served, *, num_calls: int) -> list[float]:
    """Milliseconds, one for each call. The engine's moment is the id of its first entry in the
    job's stream, by the clock of the broker, which is this machine's."""
    model = Path(served.crew.settings.model).name
    http = openai.DefaultHttpxClient(trust_env=False)
    keys, found = Keys(served.crew.settings.key_prefix), []
    with (
        openai.OpenAI(base_url=served.url + "/v1", api_key="none", http_client=http) as ai,
        connect(served.crew.broker_url) as broker,
    ):
        for n in range(num_calls):
            chunks = ai.chat.completions.create(
                model=model, stream=True, max_completion_tokens=16,
                messages=[{"role": "user", "content": f"{DOCUMENT}\n\nWho is number {n}?"}],
            )  # fmt: skip
            first_at, job_id = 0.0, ""
            for chunk in chunks:
                job_id = chunk.id.removeprefix("chatcmpl-")
                if not first_at and chunk.choices and chunk.choices[0].delta.content:
                    first_at = time.time()
            entries = broker.xrange(keys.stream(job_id), count=1)
            if first_at and entries:
                found.append(first_at * 1e3 - float(entries[0][0].split(b"-")[0]))
    return found
