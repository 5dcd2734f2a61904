"""One attempt's text on its way into the job's stream. What is written joins to the answer."""

from __future__ import annotations

from glyph_worker.errors import TransientError
from glyph_worker.store.streams import StreamStore


class AnswerStream:
    def __init__(self, streams: StreamStore, job_id: str, attempt: int, owner: str) -> None:
        self._streams = streams
        self._job_id = job_id
        self._attempt = attempt
        self._owner = owner
        self._num_written = 0
        """UTF-8 bytes that the stream holds, as far as we know."""

    def grow(self, text: str) -> None:
        """The answer so far, which only ever grows. A server that is away gets it next time."""
        raw = text.encode()
        if len(raw) > self._num_written:
            try:
                self._write(raw)
            except TransientError:
                return

    def finish(self, text: str) -> None:
        """The whole answer, before its commit. To be repeated together with the commit: a server
        that lost its last second has lost both.

        Raises StoreUnavailable, StoreFull, StoreDenied.
        """
        raw = text.encode()
        while not self._write(raw):
            pass

    def _write(self, raw: bytes) -> bool:
        """Send what is missing; whether there is nothing more to send."""
        start = self._num_written
        held = self._streams.write(self._job_id, self._attempt, self._owner, start, raw[start:])
        if held is None:
            return True
        self._num_written = held
        return held >= len(raw)
