"""Our page features as the encoder cache of any `vllm serve`: read before an encode, written after.

    vllm serve MODEL --enable-mm-embeds --ec-transfer-config '{
      "ec_connector": "PageFeatureConnector",
      "ec_connector_module_path": "glyph_worker.backends.vllm_features", "ec_role": "ec_both",
      "ec_connector_extra_config": {"cache_url": "redis://127.0.0.1:6379/1"}}'

Several vLLM servers and our own workers then share one store: a page that one has encoded is
encoded by no other. The client names each page by the salted digest of its features (the `uuid` of
a picture, as GLYPH_BACKEND=remote sends it); names of another form are left to vLLM. The digest is
bound to nothing but the client's word, so only those may reach the server who may write the store.

vLLM makes one connector for its scheduler and one for each worker. The scheduler's never waits on
the network: a thread fetches what waiting requests will need, checks it, and keeps it in memory,
and a page counts as there only while it is. The bytes travel with the step's plan, so a worker
never misses one. Whatever Redis does, the worst is an encode.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

import torch
from vllm.distributed.ec_transfer.ec_connector.base import (
    ECConnectorBase,
    ECConnectorMetadata,
    ECConnectorRole,
)

from glyph_worker.backends.vllm_shelf import FeatureShape, Saver, Shelf
from glyph_worker.errors import InvalidSetting
from glyph_worker.features import wire
from glyph_worker.features.counters import log_event
from glyph_worker.features.types import FeatureStore
from glyph_worker.store.breaker import CircuitBreaker
from glyph_worker.store.features import CacheStore

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.core.sched.output import SchedulerOutput
    from vllm.v1.request import Request

_DIGEST = re.compile(r"[0-9a-f]{64}")
_OPTIONS = {
    "cache_url": "", "prefix": "glyph", "ttl_s": 7 * 86_400, "local_bytes": 1 << 30,
    "patience_s": 0.5, "packing": "raw", "chunk_bytes": 16 << 20,
}  # fmt: skip
"""`ec_connector_extra_config` and its defaults: the settings of the same names."""


class Loads(ECConnectorMetadata):  # type: ignore[misc]
    """What a step's workers find in place of encodes: digest to the record's bytes."""

    def __init__(self, records: dict[str, bytes]) -> None:
        self.records = records


class PageFeatureConnector(ECConnectorBase):  # type: ignore[misc]
    def __init__(self, vllm_config: VllmConfig, role: ECConnectorRole, *_: Any) -> None:
        """Raises InvalidSetting for options that are none."""
        super().__init__(vllm_config=vllm_config, role=role)
        options = _options(vllm_config.ec_transfer_config.ec_connector_extra_config)
        store = CacheStore.connect(
            options["cache_url"], prefix=options["prefix"], chunk_bytes=options["chunk_bytes"]
        )
        guard: CircuitBreaker[FeatureStore] = CircuitBreaker(store, log_event, time.monotonic)
        text = vllm_config.model_config.hf_text_config
        vision = getattr(vllm_config.model_config.hf_config, "vision_config", None)
        depths = getattr(vision, "deepstack_visual_indexes", None) or ()
        shape = FeatureShape(
            dtype=vllm_config.model_config.dtype,
            hidden_size=text.hidden_size,
            num_tensors=1 + len(depths),
        )
        owner = f"vllm-{os.getpid()}-{role.name.lower()}"
        self._shape = shape
        self._shelf: Shelf | None = None
        self._saver: Saver | None = None
        if role is ECConnectorRole.SCHEDULER:
            self._shelf = Shelf(
                guard, shape, owner=owner, max_bytes=options["local_bytes"],
                patience_s=options["patience_s"],
            )  # fmt: skip
        elif self.is_producer and _is_first_rank():
            self._saver = Saver(
                guard, shape, owner=owner, form=options["packing"], ttl_s=options["ttl_s"]
            )
        self._pinned: dict[str, bytes] = {}
        """What this step's plan counts on."""
        self._loads: dict[str, bytes] = {}

    # The scheduler's side ------------------------------------------------------------------------

    def ensure_cache_available(self, request: Request, num_computed_tokens: int) -> bool:
        """False while a page that is still to be read may come, for `patience_s` at most."""
        if self._shelf is None or not self.is_consumer:
            return True
        wanted = {}
        for index, feature in enumerate(request.mm_features):
            place = feature.mm_position
            ahead = place.offset + place.length > num_computed_tokens
            if ahead and _DIGEST.fullmatch(feature.identifier):
                wanted[feature.identifier] = request.get_num_encoder_embeds(index)
        return self._shelf.settled(wanted)

    def has_cache_item(self, identifier: str) -> bool:
        if self._shelf is None or not self.is_consumer:
            return False
        record = self._pinned.get(identifier) or self._shelf.record(identifier)
        if record is None:
            return False
        self._pinned[identifier] = record
        return True

    def update_state_after_alloc(self, request: Request, index: int) -> None:
        identifier = request.mm_features[index].identifier
        if identifier in self._pinned:
            self._loads[identifier] = self._pinned[identifier]

    def build_connector_meta(self, scheduler_output: SchedulerOutput) -> ECConnectorMetadata:
        loads = Loads(dict(self._loads))
        if self._shelf is not None and loads.records:
            self._shelf.loaded(len(loads.records))
        self._pinned.clear()
        self._loads.clear()
        return loads

    # The workers' side ---------------------------------------------------------------------------

    def start_load_caches(self, encoder_cache: dict[str, torch.Tensor], **_: Any) -> None:
        loads = self._get_connector_metadata()
        assert isinstance(loads, Loads)
        for identifier, record in loads.records.items():
            if identifier not in encoder_cache:
                features = _decoded(identifier, record, self._shape)
                encoder_cache[identifier] = features.to(_device())

    def save_caches(self, encoder_cache: dict[str, torch.Tensor], mm_hash: str, **_: Any) -> None:
        if self._saver is not None and _DIGEST.fullmatch(mm_hash):
            self._saver.encoded(mm_hash, encoder_cache[mm_hash])

    def shutdown(self) -> None:
        for part in (self._shelf, self._saver):
            if part is not None:
                part.stop()


def _options(given: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(_OPTIONS))
    if unknown:
        raise InvalidSetting(
            f"ec_connector_extra_config has {', '.join(unknown)}; there are {', '.join(_OPTIONS)}"
        )
    options = _OPTIONS | given
    if not options["cache_url"]:
        options["cache_url"] = os.environ.get("GLYPH_CACHE_URL", "")
    if not options["cache_url"]:
        raise InvalidSetting(
            "PageFeatureConnector has no cache server: set cache_url in "
            "ec_connector_extra_config, or GLYPH_CACHE_URL"
        )
    return options


def _decoded(digest: str, record: bytes, shape: FeatureShape) -> torch.Tensor:
    """Checked when it was fetched, in this machine's memory since."""
    num_tokens = wire.inspect(digest, record).shape[0]
    return wire.decode(
        digest, record, shape=(num_tokens, shape.width), dtype=shape.dtype,
        num_tensors=shape.num_tensors,
    )  # fmt: skip


def _device() -> torch.device:
    from vllm.platforms import current_platform

    if current_platform.is_cuda_alike():
        return torch.device(current_platform.device_type, current_platform.current_device())
    return torch.device(current_platform.device_type)


def _is_first_rank() -> bool:
    """Of tensor-parallel workers all have the features; one writes them."""
    from vllm.distributed.parallel_state import get_tensor_model_parallel_rank

    return int(get_tensor_model_parallel_rank()) == 0
