"""Pages on their way, and who waits for them: each page travels once per process. No I/O.

A flight's states; the thread that moves it on is named behind:
  ASKING     the cache server is asked about it                     cluster
  BACKLOG    nobody has it; our window of claims is used up         cluster
  FOLLOWING  another worker encodes it                              cluster
  FETCHING   its bytes come from the cache server                   fetcher
  WANTED     must be encoded here; needs its pixels                 its owner, a job's thread
  DRAWING    the owner makes the pixels                             its owner
  READY      waits for a micro-batch                                encoder
  DONE       settled or failed, and no longer on the board
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from glyph_worker.features.types import PageRequest, Source
from glyph_worker.store.breaker import Observer

if TYPE_CHECKING:
    import torch


class State(Enum):
    ASKING = auto()
    BACKLOG = auto()
    FOLLOWING = auto()
    FETCHING = auto()
    WANTED = auto()
    DRAWING = auto()
    READY = auto()
    DONE = auto()


class Waiter:
    """One call of `get`: woken when one of its flights needs it or is done."""

    def __init__(self, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.flights: dict[str, PageInFlight] = {}


@dataclass(eq=False, slots=True)
class PageInFlight:
    """One page on its way. Written under the board's lock only."""

    digest: str
    width: int
    height: int
    num_tokens: int
    owner: Waiter | None
    requests: dict[Waiter, PageRequest]
    state: State = State.ASKING
    token: str = ""
    """Our claim on the cluster, the fence of what we publish; empty without one."""
    publish: bool = False
    fetches: int = 0
    """Fetches begun; a value that keeps vanishing is encoded."""
    followed: bool = False
    since: float = 0.0
    """When the present following began."""
    hurry_at: float = 0.0
    """When the owner stops waiting for the cache server."""
    audit: bool = False
    """Whether to compute afresh what the cache server holds, and compare."""
    stored: torch.Tensor | None = None
    """What the cache server holds, while its audit runs."""
    features: torch.Tensor | None = None
    error: BaseException | None = None
    source: Source = Source.ENCODED
    encode_ms: float = 0.0
    fetch_ms: float = 0.0

    def source_for(self, waiter: Waiter) -> Source:
        """Only one job's receipt says that it encoded the page."""
        if self.source is Source.ENCODED and waiter is not self.owner:
            return Source.WAITED
        return self.source


@dataclass(slots=True)
class InFlightPages:
    """All flights of this process. `lock` guards it, its flights and its waiters."""

    release: Callable[[str, str], None]
    """Told (digest, token) of a claim that nobody needs any more; must not block."""
    observer: Observer
    clock: Callable[[], float] = time.monotonic
    lock: threading.Lock = field(default_factory=threading.Lock)
    flights: dict[str, PageInFlight] = field(default_factory=dict)

    def join(self, digest: str, waiter: Waiter, request: PageRequest) -> PageInFlight | None:
        """Wait for a flight that is under way; None when there is none."""
        flight = self.flights.get(digest)
        if flight is not None:
            flight.requests[waiter] = request
            flight.owner = flight.owner or waiter  # all others had left
            waiter.flights[digest] = flight
        return flight

    def begin(
        self, digest: str, waiter: Waiter, request: PageRequest, num_tokens: int
    ) -> PageInFlight:
        flight = PageInFlight(
            digest=digest,
            width=request.width,
            height=request.height,
            num_tokens=num_tokens,
            owner=waiter,
            requests={waiter: request},
        )
        self.flights[digest] = waiter.flights[digest] = flight
        return flight

    def want(self, flight: PageInFlight, *, publish: bool) -> None:
        """It must be encoded here: its owner is to make the pixels."""
        flight.state = State.WANTED
        flight.publish = publish
        if flight.owner is not None:
            flight.owner.changed.notify()
        else:
            self.finish(flight)

    def finish(
        self,
        flight: PageInFlight,
        features: torch.Tensor | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Hand the outcome to all who wait. A flight with neither was given up by all."""
        flight.state = State.DONE
        flight.features, flight.error, flight.stored = features, error, None
        if self.flights.get(flight.digest) is flight:
            del self.flights[flight.digest]
        if features is None and flight.token:
            self.release(flight.digest, flight.token)
        for waiter in flight.requests:
            waiter.changed.notify()

    def leave(self, waiter: Waiter) -> None:
        """A job waits no longer: what it owned goes to the next in line, or is given up."""
        for flight in waiter.flights.values():
            if flight.state is State.DONE:
                continue
            flight.requests.pop(waiter, None)
            if flight.owner is not waiter:
                continue
            flight.owner = next(iter(flight.requests), None)
            if flight.state is State.DRAWING:
                flight.state = State.WANTED
            if flight.owner is not None:
                flight.owner.changed.notify()
            elif flight.state not in (State.READY, State.FETCHING):  # those end by themselves
                self.finish(flight)

    def fail_all(self, error: BaseException) -> None:
        for flight in list(self.flights.values()):
            self.finish(flight, error=error)

    def hurried(self, flights: Iterable[PageInFlight]) -> float | None:
        """Take back what the cache server is too slow with; seconds until the next such moment."""
        now, soonest = self.clock(), None
        for flight in flights:
            if flight.state not in (State.ASKING, State.FETCHING):
                continue
            if flight.hurry_at <= now:
                fields = {"feature_digest": flight.digest, "state": flight.state.name}
                self.observer("hurried", fields)
                self.want(flight, publish=flight.state is State.ASKING)
            elif soonest is None or flight.hurry_at - now < soonest:
                soonest = flight.hurry_at - now
        return soonest
