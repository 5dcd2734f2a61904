"""One encode per page across all workers: claims, followers, takeover. Small messages only.

Claims are leases with a fence. A worker claims no more than a window of pages at once, so that
several workers on one new document share its pages out; the rest of a job's pages are asked about
again as the window empties. Followers poll: a lost notification can strand nobody. A claimant
that dies stops renewing; the next poll after its lease takes the page over.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from glyph_worker.features.break_even import LEAST_SAMPLES, BreakEven
from glyph_worker.features.fetch import Fetcher
from glyph_worker.features.inflight import InFlightPages, PageInFlight, State
from glyph_worker.features.types import ClaimState, FeatureStore
from glyph_worker.store.breaker import CircuitBreaker, Observer

log = logging.getLogger(__name__)

FIRST_POLL_S = 0.002
SLOWEST_POLL_S = 0.025
IDLE_S = 0.5
REPORT_S = 5.0
ANNOUNCE_S = 30.0


@dataclass(slots=True)
class _Claim:
    token: str
    since: float


@dataclass(slots=True)
class _Due:
    """When the periodic work comes next, on the clock."""

    renew: float = 0.0
    report: float = 0.0
    announce: float = 0.0
    poll: float = 0.0
    pause: float = field(default=FIRST_POLL_S)


class Cluster:
    def __init__(
        self,
        board: InFlightPages,
        guard: CircuitBreaker[FeatureStore],
        policy: BreakEven,
        fetcher: Fetcher,
        *,
        owner: str,
        lease_s: float,
        window: int,
        patience_s: float,
        claims: bool,
        audit: Callable[[], bool],
        report: Callable[[], bytes],
        recipe: Callable[[], bytes | None],
        observer: Observer,
    ) -> None:
        """`claims` off leaves each worker to itself; `audit` draws whether a stored page is to be
        checked; `report` and `recipe` are what this worker tells the others about itself."""
        self._board = board
        self._guard = guard
        self._policy = policy
        self._fetcher = fetcher
        self._owner = owner
        self._lease_s = lease_s
        self._window = window
        self._patience_s = patience_s
        self._with_claims = claims
        self._audit = audit
        self._report = report
        self._recipe = recipe
        self._observer = observer
        self._changed = threading.Condition(board.lock)
        self._inbox: list[PageInFlight] = []
        self._parked: list[PageInFlight] = []
        self._num_backlog = 0
        self._claims: dict[str, _Claim] = {}
        self._given_up: list[tuple[str, str]] = []
        self.calibrated = threading.Event()
        self._due = _Due()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="glyph-cluster", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Give up all claims, so that followers need not wait for the lease."""
        with self._changed:
            self._running = False
            self._changed.notify()
        self._thread.join(timeout_s)

    def ask(self, flights: Sequence[PageInFlight]) -> None:
        """Find out who has these pages or encodes them. Under the board's lock."""
        self._inbox.extend(flights)
        self._changed.notify()

    def window_moved(self) -> None:
        """A claimed page is encoded: there may be room for the next. Under the board's lock."""
        if not self._num_backlog or self._due.poll == 0.0 or self._room() < self._window // 2:
            return
        self._due.poll = 0.0
        self._changed.notify()

    def give_up(self, digest: str, token: str) -> None:
        """Let a claim go, soon and in the background. Under the board's lock."""
        if token:
            self._given_up.append((digest, token))
            self._changed.notify()

    def release(self, digest: str, token: str) -> None:
        """The same, without the board's lock."""
        with self._board.lock:
            self.give_up(digest, token)

    def settled(self, digest: str, token: str) -> None:
        """The server has ended this claim. Without the board's lock."""
        with self._board.lock:
            claim = self._claims.get(digest)
            if claim is not None and claim.token == token:
                del self._claims[digest]

    def _run(self) -> None:
        for _ in range(LEAST_SAMPLES):
            started = time.perf_counter()
            self._guard.call("ping", lambda store: store.ping())
            if self._guard.up:
                self._policy.asked((time.perf_counter() - started) * 1e3)
        self._keep_up()
        self.calibrated.set()
        while True:
            with self._changed:
                self._changed.wait_for(self._something_due, self._nap_s())
                if not self._running:
                    break
                asked, polled = self._inbox, self._due_parked()
                self._inbox = []
            try:
                if asked or polled:
                    self._ask(asked, polled)
                self._keep_up()
            except Exception:
                log.exception("cluster thread")
                with self._board.lock:
                    for flight in (*asked, *polled):
                        if flight.state in (State.ASKING, State.BACKLOG, State.FOLLOWING):
                            self._board.want(flight, publish=False)
        with self._board.lock:
            claims = [(digest, claim.token) for digest, claim in self._claims.items()]
        self._guard.call("release", lambda store: store.renew(claims, lease_s=0))

    def _nap_s(self) -> float:
        if self._given_up:
            return 0.0
        if not self._parked:
            probe_s = self._policy.probe_in_s(self._board.clock()) if self._guard.up else None
            return min(IDLE_S, self._lease_s / 3, IDLE_S if probe_s is None else probe_s)
        return max(0.0, self._due.poll - self._board.clock())

    def _something_due(self) -> bool:
        if not self._running or self._inbox or self._given_up:
            return True
        return bool(self._parked) and self._due.poll <= self._board.clock()

    def _due_parked(self) -> list[PageInFlight]:
        now = self._board.clock()
        if not self._parked or self._due.poll > now:
            return []
        waiting = (State.BACKLOG, State.FOLLOWING)
        polled, self._parked = [one for one in self._parked if one.state in waiting], []
        self._num_backlog = 0
        self._due.pause = min(SLOWEST_POLL_S, 1.5 * self._due.pause)
        return polled

    def _room(self) -> int:
        """Claims we may still take: the window less what is claimed and not yet encoded."""
        flights = self._board.flights.values()
        return max(0, self._window - sum(1 for flight in flights if flight.token))

    def _ask(self, asked: list[PageInFlight], polled: list[PageInFlight]) -> None:
        with self._board.lock:
            # A server that is full takes no claims, but still says what it has.
            room = self._room() if self._with_claims and not self._guard.full else 0
        flights = polled + asked  # who waits longest claims first
        digests = [flight.digest for flight in flights]
        started = time.perf_counter()
        answers = self._guard.call(
            "claim",
            lambda store: store.claim(
                digests, owner=self._owner, lease_s=self._lease_s, limit=room
            ),
        )
        self._policy.asked((time.perf_counter() - started) * 1e3)
        with self._board.lock:
            if answers is None:
                for flight in flights:
                    if flight.state in (State.ASKING, State.BACKLOG, State.FOLLOWING):
                        self._board.want(flight, publish=False)
                return
            if asked:
                states = [state for state, _ in answers[len(polled) :]]
                num_hits = states.count("stored") + states.count("held")
                self._policy.found(num_hits, len(asked))
            fetching = [
                flight
                for flight, (state, token) in zip(flights, answers, strict=True)
                if self._answered(flight, state, token)
            ]
            if fetching:
                self._fetcher.submit(fetching)
            if self._parked:
                if asked:
                    self._due.pause = FIRST_POLL_S
                self._due.poll = self._board.clock() + self._due.pause

    def _answered(self, flight: PageInFlight, state: ClaimState, token: str) -> bool:
        """Move a flight on by the server's answer; True when it is to be fetched."""
        now = self._board.clock()
        if state == "claimed":
            self._claims[flight.digest] = _Claim(token, now)
        if flight.state not in (State.ASKING, State.BACKLOG, State.FOLLOWING):
            # Its owner lost patience. Still encoding: the claim is worth having. Done: it is not.
            if state == "claimed":
                if flight.state is State.DONE or not flight.publish:
                    self.give_up(flight.digest, token)
                else:
                    flight.token = token
            return False
        if state == "claimed":
            flight.token = token
            self._board.want(flight, publish=True)
        elif state == "stored":
            if flight.fetches < 2 and self._policy.fetch_pays():
                flight.state = State.FETCHING
                if not flight.followed and self._audit():
                    self._observer("audit", {"feature_digest": flight.digest})
                    flight.audit = True
                return True
            self._board.want(flight, publish=False)
        elif state == "quarantined":
            self._board.want(flight, publish=False)
        elif not self._with_claims or (state == "free" and self._guard.full):
            self._board.want(flight, publish=not self._guard.full)
        elif state == "held":
            if flight.state is not State.FOLLOWING:
                flight.state, flight.since, flight.followed = State.FOLLOWING, now, True
            if now - flight.since > self._patience_s:
                self._observer("follow_gave_up", {"feature_digest": flight.digest})
                self._board.want(flight, publish=False)
            else:
                self._parked.append(flight)
        else:
            flight.state = State.BACKLOG
            self._num_backlog += 1
            self._parked.append(flight)
        return False

    def _keep_up(self) -> None:
        """Whatever is due beside the questions. Each call may cost a timeout, and no job waits."""
        now = self._board.clock()
        given_up, self._given_up = self._given_up, []
        if given_up:
            self._guard.call("release", lambda store: store.renew(given_up, lease_s=0))
        with self._board.lock:
            for digest, token in given_up:
                claim = self._claims.get(digest)
                if claim is not None and claim.token == token:
                    del self._claims[digest]
            # A claim older than any follower's patience protects nobody.
            claims = [
                (digest, claim.token)
                for digest, claim in self._claims.items()
                if now - claim.since < self._patience_s
            ]
        if claims and now >= self._due.renew:
            self._due.renew = now + self._lease_s / 3
            self._guard.call("renew", lambda store: store.renew(claims, lease_s=self._lease_s))
        self._guard.probe()
        if self._policy.probe_in_s(now) == 0 and self._guard.up:
            self._policy.probed(now, 0.0)  # until the fetcher says what it took
            self._fetcher.probe()
        if now >= self._due.announce:
            self._due.announce = now + ANNOUNCE_S
            recipe = self._recipe()
            if recipe is not None:
                self._guard.call("announce", lambda store: store.announce(recipe))
        if now >= self._due.report:
            self._due.report = now + REPORT_S
            self._guard.call("report", lambda store: store.report(self._owner, self._report()))
