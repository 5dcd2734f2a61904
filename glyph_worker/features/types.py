"""What the feature cache asks of others and what it hands out. Types only; loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

ClaimState = Literal["stored", "claimed", "held", "free", "quarantined"]
CommitState = Literal["stored", "fenced", "quarantined", "lost"]


class PageEncoder(Protocol):
    """The vision half of a reader: pages in, visual tokens out."""

    @property
    def identity(self) -> str: ...
    @property
    def processor_digest(self) -> str: ...
    @property
    def encoder_revision(self) -> str | int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def hidden_size(self) -> int:
        """Of one tensor of a token."""
        ...

    @property
    def num_feature_tensors(self) -> int:
        """Tensors of a page that lie side by side in its record: one, or more with deepstack."""
        ...

    @property
    def sample_size(self) -> tuple[int, int]:
        """Width and height of a page that the tower sees as it is, to measure by."""
        ...

    def num_visual_tokens(self, width: int, height: int) -> int: ...
    def encode_pages(self, pages: list[np.ndarray[Any, Any]]) -> Sequence[torch.Tensor]:
        """`pages`: uint8[H, W] of one size. Returns `[num_tokens, num_feature_tensors * hidden]`
        for each, in order."""
        ...


def token_width(encoder: PageEncoder) -> int:
    """Numbers of one visual token's features."""
    return encoder.num_feature_tensors * encoder.hidden_size


class FeatureStore(Protocol):
    """The cache server, as bytes by digest. `store/cache.py` says what each does.

    Every call may raise StoreUnavailable, StoreFull or StoreDenied.
    """

    def claim(
        self, digests: Sequence[str], *, owner: str, lease_s: float, limit: int
    ) -> list[tuple[ClaimState, str]]: ...
    def renew(self, claims: Sequence[tuple[str, str]], *, lease_s: float) -> list[bool]: ...
    def stored(self, digests: Sequence[str]) -> list[bool]: ...
    def fetch(self, digests: Sequence[str]) -> list[bytes | None]: ...
    def publish(
        self, digest: str, parts: Sequence[bytes | memoryview], *, token: str, ttl_s: int
    ) -> CommitState: ...
    def drop(self, digests: Sequence[str]) -> int: ...
    def quarantine(self, digest: str, reason: str, *, ttl_s: int) -> None: ...
    def announce(self, recipe: bytes) -> None: ...
    def recipes(self) -> list[bytes]: ...
    def report(self, owner: str, stats: bytes) -> None: ...
    def reports(self) -> dict[str, bytes]: ...
    def put_probe(self, owner: str, value: bytes) -> None: ...
    def get_probe(self, owner: str) -> bytes | None: ...
    def ping(self) -> None: ...
    def digests(self) -> Iterator[str]: ...
    def sizes(self, digests: Sequence[str]) -> list[int]: ...
    def memory(self) -> dict[str, Any]: ...
    def clear(self) -> int: ...


class Source(StrEnum):
    """Where one page's features came from, seen from the job that asked."""

    DEVICE = "device"
    """This worker's device memory."""
    HOST = "host"
    """This worker's host memory."""
    STORE = "store"
    """The cache server."""
    ENCODED = "encoded"
    """The vision tower, for this job."""
    WAITED = "waited"
    """The vision tower, for another job that asked first, here or on another worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageRequest:
    """One page that a job needs."""

    page_digest: str
    width: int
    height: int
    pixels: Callable[[], np.ndarray[Any, Any]]
    """Draws or fetches uint8[height, width], or [height, width, 3] in colour. Called at most once,
    in the thread that called `get`, and only if the page must be encoded here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureBatch:
    """The features of the pages asked for, in their order, and the bill."""

    features: list[torch.Tensor]
    """`[num_tokens, hidden]` each, on the encoder's device, in its dtype. Shared: read only."""
    sources: list[Source]
    encode_ms: float
    """This job's share of the micro-batches that encoded its pages."""
    fetch_ms: float
    """This job's share of the transfers that brought its pages."""
    wait_ms: float
    """From the call to the return."""

    def count(self, source: Source) -> int:
        return self.sources.count(source)

    @property
    def num_pages(self) -> int:
        return len(self.sources)

    @property
    def num_encoded(self) -> int:
        return self.count(Source.ENCODED)

    @property
    def num_reused(self) -> int:
        return self.num_pages - self.num_encoded


@dataclass(frozen=True, kw_only=True)
class FeatureStats:
    """Counters since the start of this process, and the present estimates."""

    sources: Mapping[str, int] = field(default_factory=dict)
    """Pages handed to jobs, by Source. They sum to the pages asked for."""
    events: Mapping[str, int] = field(default_factory=dict)
    """Every event the observer was told of, counted."""
    num_tower_pages: int = 0
    """Pages that went through the vision tower, audits included."""
    device_bytes: int = 0
    device_entries: int = 0
    host_bytes: int = 0
    host_entries: int = 0
    encode_ms_per_page: float | None = None
    fetch_ms_per_page: float | None = None
    ask_ms: float | None = None
    hit_rate: float | None = None
    store_up: bool = False

    @property
    def num_asked(self) -> int:
        return sum(self.sources.values())

    @property
    def num_encoded(self) -> int:
        return self.sources.get(Source.ENCODED, 0)
