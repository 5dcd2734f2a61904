"""Fetch or compute? Running medians of both decide. Arithmetic only: no I/O, no tensors.

The promise is that the cache is never slower than none. So: the server is asked only while a
question costs less than it is likely to save; features are fetched, claimed and published only
while a fetch takes less time than the encode it replaces; and nothing waits for the server longer
than an encode would take. What is not used is still measured, in the background, at 1 % duty.
"""

from __future__ import annotations

import statistics
import threading
from collections import deque

WINDOW = 9
MARGIN = 0.9
"""A fetch must cost less than this share of the encode: it also takes CPU time and a thread."""
MAX_OVERHEAD = 0.01
"""A question that costs less than this share of the encode is always worth asking."""
LEAST_PATIENCE_S = 0.05
LEAST_SAMPLES = 3
PROBE_DUTY = 0.01


class RunningMedian:
    """Median of the last few samples; None before the first."""

    def __init__(self, window: int = WINDOW) -> None:
        self._samples: deque[float] = deque(maxlen=window)
        self.value: float | None = None

    def add(self, sample: float) -> None:
        self._samples.append(sample)
        self.value = statistics.median(self._samples)

    @property
    def settled(self) -> float | None:
        """The median, once one slow moment cannot make it."""
        return self.value if len(self._samples) >= LEAST_SAMPLES else None


class BreakEven:
    """Decides for one worker. Thread-safe. With `measured=False` the answer is always yes."""

    def __init__(self, *, measured: bool = True, max_wait_s: float = 0.5) -> None:
        self._measured = measured
        self._max_wait_s = max_wait_s
        self._lock = threading.Lock()
        self._encode = RunningMedian()  # ms per visual token
        self._fetch = RunningMedian()  # ms per visual token, decode and upload included
        self._publish = RunningMedian()  # ms per visual token: the same link, the other way
        self._ask = RunningMedian()  # ms per question, however many pages it names
        self._page_tokens = RunningMedian()
        self._hit_rate = 0.5
        self._next_probe_s = 0.0
        self._savings = 0.0

    def encoded(self, num_tokens: int, num_pages: int | None, elapsed_ms: float) -> None:
        """`num_pages` None: a warm-up, which is no page."""
        with self._lock:
            self._encode.add(elapsed_ms / max(1, num_tokens))
            if num_pages is not None:
                self._page_tokens.add(num_tokens / num_pages)

    def fetched(self, num_tokens: float, num_pages: int | None, elapsed_ms: float) -> None:
        """`num_pages` None: a probe, which is no page."""
        with self._lock:
            self._fetch.add(elapsed_ms / max(1, num_tokens))
            if num_pages is not None:
                self._page_tokens.add(num_tokens / num_pages)

    def published(self, num_tokens: int, elapsed_ms: float) -> None:
        with self._lock:
            self._publish.add(elapsed_ms / max(1, num_tokens))

    def asked(self, elapsed_ms: float) -> None:
        with self._lock:
            self._ask.add(elapsed_ms)

    def found(self, num_stored: int, num_asked: int) -> None:
        """Feed the hit rate, a decaying mean over about the last 50 pages."""
        with self._lock:
            keep = 0.98**num_asked
            self._hit_rate = keep * self._hit_rate + (1 - keep) * num_stored / num_asked

    def fetch_pays(self) -> bool:
        """Whether fetching a page beats encoding it, hence whether to fetch and to publish.

        Unknown counts as yes. Publishing waits in the background, so its own time is no cost.
        """
        if not self._measured:
            return True
        with self._lock:
            return self._pays()

    def _pays(self) -> bool:
        # Until something was fetched, what publishing took stands for it.
        fetch = self._fetch.settled if self._fetch.settled is not None else self._publish.settled
        if fetch is None or self._encode.value is None:
            return True
        return fetch < MARGIN * self._encode.value

    def ask_pays(self, num_tokens: int) -> bool:
        """Whether to ask the server about pages of so many visual tokens together.

        Where it is not likely to pay it is still done now and then, at 1 % of the encode time.
        """
        if not self._measured:
            return True
        with self._lock:
            ask, encode = self._ask.settled, self._encode.value
            if not self._pays():
                return False
            if ask is None or encode is None:
                return True
            allowance = MAX_OVERHEAD * encode * num_tokens
            if ask <= allowance:
                return True
            fetch = self._fetch.value or self._publish.value or 0.0
            if ask < self._hit_rate * num_tokens * max(0.0, encode - fetch):
                return True
            self._savings += allowance
            if self._savings < ask:
                return False
            self._savings = 0.0
            return True

    def patience_s(self, num_tokens: int) -> float:
        """How long a job waits for the server before it encodes these pages itself."""
        if not self._measured:
            return self._max_wait_s
        with self._lock:
            if self._encode.value is None:
                return self._max_wait_s
            encode_s = self._encode.value * num_tokens / 1e3
        return min(self._max_wait_s, max(LEAST_PATIENCE_S, encode_s))

    def encode_ms(self, num_tokens: int) -> float:
        """What encoding takes, by the median; 1 ms per page while unknown."""
        with self._lock:
            return 1.0 if self._encode.value is None else self._encode.value * num_tokens

    def fetch_ms(self, num_tokens: int) -> float:
        with self._lock:
            return 0.5 if self._fetch.value is None else self._fetch.value * num_tokens

    def probe_in_s(self, now_s: float) -> float | None:
        """Seconds until the next probe; None while the server is in use and measured anyway."""
        with self._lock:
            if not self._measured or self._pays():
                return None
            return max(0.0, self._next_probe_s - now_s)

    def probed(self, now_s: float, took_s: float) -> None:
        """Next one after a pause that keeps probing at 1 % of the time."""
        with self._lock:
            self._next_probe_s = now_s + max(0.1, took_s / PROBE_DUTY)

    def estimates(self) -> dict[str, float | None]:
        """Medians in ms per page of median size, and the hit rate."""
        with self._lock:
            tokens = self._page_tokens.value or 1.0
            page = {
                "encode_ms_per_page": self._encode.value,
                "fetch_ms_per_page": self._fetch.value,
            }
            return {
                **{name: None if ms is None else ms * tokens for name, ms in page.items()},
                "ask_ms": self._ask.value,
                "hit_rate": self._hit_rate,
            }
