"""How page features are named: the one recipe for feature digests. No tensors, no I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from glyph_worker import codec
from glyph_worker.document import digest

if TYPE_CHECKING:
    from glyph_worker.features.types import PageEncoder

WIRE_VERSION = 1
"""Part of every digest, so two releases with different wire forms never read each other's."""
MANY_TENSORS_VERSION = 2
"""Of records with several tensors. Those of one keep their form, and so their names."""

SHARED = ""
"""The salt of the shared pool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureRecipe:
    """All that determines a page's features beside the page itself.

    The page digest covers content, style, fonts and renderer version; this covers the rest.
    """

    checkpoint: str
    """Digest of weights and config, never a path."""
    processor: str
    """Digest of how a page image becomes the tower's input."""
    encoder: str
    """Revision of the code that runs the vision tower."""
    dtype: str
    device: str
    """`cpu` or `cuda`: their sums round differently, and a cached page must equal a fresh one."""
    packing: str = "exact"
    """`exact`, or the lossy wire form that all features go through."""
    num_tensors: int = 1
    """Tensors of a page in one record."""
    salt: str = SHARED
    """Keeps tenants apart; see `tenant_salt`."""

    @classmethod
    def of(cls, encoder: PageEncoder, *, packing: str = "exact") -> FeatureRecipe:
        return cls(
            checkpoint=encoder.identity,
            processor=encoder.processor_digest,
            encoder=str(encoder.encoder_revision),
            dtype=str(encoder.dtype).removeprefix("torch."),
            device=encoder.device.type,
            packing="int8" if packing == "int8" else "exact",
            num_tensors=encoder.num_feature_tensors,
        )

    @property
    def wire_version(self) -> int:
        return WIRE_VERSION if self.num_tensors == 1 else MANY_TENSORS_VERSION

    def salted(self, salt: str) -> FeatureRecipe:
        return replace(self, salt=salt)

    def feature_digest(self, page_digest: str) -> str:
        """The name of this page's features: SHA-256 as hex."""
        return digest(
            "feature",
            self.wire_version,
            page_digest,
            self.checkpoint,
            self.processor,
            self.encoder,
            self.dtype,
            self.device,
            self.packing,
            self.salt,
            *([] if self.num_tensors == 1 else [self.num_tensors]),
        )

    def to_wire(self) -> bytes:
        """What an answer worker announces. Without the salt, which is the tenant's."""
        fields = asdict(self)
        del fields["salt"]
        if self.num_tensors == 1:  # as releases write it that know no other
            del fields["num_tensors"]
        return codec.pack("feature_recipe", {"wire": self.wire_version, **fields})

    @classmethod
    def from_wire(cls, raw: bytes) -> FeatureRecipe | None:
        """None for a recipe of another wire version, whose digests we cannot compute, or none.

        Raises UnreadableEnvelope.
        """
        fields = codec.unpack("feature_recipe", raw)
        version, num_tensors = fields.pop("wire", None), fields.pop("num_tensors", 1)
        if version not in (WIRE_VERSION, MANY_TENSORS_VERSION):
            return None
        if not isinstance(num_tensors, int) or (num_tensors == 1) != (version == WIRE_VERSION):
            return None
        if not all(isinstance(value, str) for value in fields.values()):
            return None
        try:
            return cls(**fields, num_tensors=num_tensors)
        except TypeError:
            return None


def tenant_salt(secret: str, tenant: str, *, shared: bool) -> str:
    """The salt of one tenant, derived on the server: a tenant can neither choose nor guess it.

    Without it, one tenant could time whether another has asked about a document
    (CVE-2025-46570). `shared` puts all tenants into one pool, by the operator's choice.
    """
    return SHARED if shared else digest("tenant-salt", secret, tenant)


def page_image_digest(page_digest: str, salt: str) -> str:
    """Where a tenant's page image waits for its encoder on the cache server."""
    return digest("page-image", page_digest, salt)
