"""A stream that is longer than one read of it."""

from __future__ import annotations

from typing import Any

from glyph_worker.client import Client
from glyph_worker.settings import Settings
from glyph_worker.store.connection import connect
from glyph_worker.store.keys import Keys
from glyph_worker.store.streams import StreamStore


def test_a_final_jobs_long_stream_is_read_to_its_end(broker_url: str) -> None:
    client = Client(Settings.load(environ={"GLYPH_BROKER_URL": broker_url}))
    job = client.submit("a lamp: 12 EUR", "what does it cost?")
    with connect(broker_url) as server:
        streams = StreamStore(server, Keys("glyph"), 60)
        holder: Any = {"status": "running", "attempt": 1, "owner": "w"}
        server.hset(f"glyph:job:{job.id}", mapping=holder)
        written = 0
        for number in range(450):
            held = streams.write(job.id, 1, "w", written, f"{number} ".encode())
            assert held is not None
            written = held
    client.cancel(job.id)
    deltas = list(client.stream(job.id))
    assert "".join(delta.text for delta in deltas) == "".join(f"{n} " for n in range(450))
    assert deltas[-1].status is not None
