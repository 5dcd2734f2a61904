"""Every knob, typed, from the environment (GLYPH_*) or a TOML file. Unknown names fail.

One section per part of the house; `GLYPH_ENGINE_MAX_SLOTS` sets `settings.engine.max_slots`.
Nothing is read at import: `Settings.load()` reads, everything else takes what it needs by
constructor.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from glyph_worker.errors import InvalidSetting
from glyph_worker.setting_sections import (
    OFF,
    EngineSettings,
    FeatureSettings,
    GatewaySettings,
    IntakeSettings,
    LimitSettings,
    QueueSettings,
    RemoteSettings,
    RenderSettings,
    Section,
    VllmSettings,
)

PREFIX = "GLYPH_"


class Settings(Section):
    """All of it. Field names are environment names: `broker_url` is GLYPH_BROKER_URL."""

    broker_url: SecretStr | None = None
    """Redis for records, blobs and queues (AOF, noeviction). None: none configured."""
    cache_url: SecretStr | None = None
    """Redis for pages and features (allkeys-lru). None: the broker's; see `cache_server`."""
    key_prefix: str = Field(default="glyph", pattern=r"^[a-z0-9_-]{1,32}$")
    """First part of every key."""
    model: str = "nano"
    """Checkpoint folder, or `nano` for the embedded reader."""
    backend: Literal["own", "vllm", "remote"] = "own"
    """Who decodes: our own engine, vLLM in the answer worker, or a server by its URL."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """`auto`: float32 on CPU; on CUDA float16 where a probe at load proves it safe for the
    checkpoint, else what the checkpoint declares. A CPU that has no products of 16-bit numbers
    stores them so and multiplies in float32."""
    data_dir: Path = Path("~/.local/share/glyph_worker")
    """Where the embedded server keeps its append-only file."""
    heartbeat_dir: Path | None = None
    """Where a worker touches the file that `glyph-worker worker alive` looks at; one folder per
    service. None: a folder of this user's where temporary files are."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    trace_endpoint: str = ""
    """OTLP/HTTP endpoint for OpenTelemetry traces, e.g. http://127.0.0.1:4318. Empty: no traces."""
    off: str = ""
    """Optimisations and guards to switch off, comma-separated, to compare or to find a fault:
    affinity, break_even, compile, cuda_graphs, finite_guard, grouped_decode, packed_weights,
    prefill_as_landed, prefix_sharing, self_test, single_flight, store."""
    limits: LimitSettings = LimitSettings()
    intake: IntakeSettings = IntakeSettings()
    render: RenderSettings = RenderSettings()
    features: FeatureSettings = FeatureSettings()
    engine: EngineSettings = EngineSettings()
    vllm: VllmSettings = VllmSettings()
    remote: RemoteSettings = RemoteSettings()
    queue: QueueSettings = QueueSettings()
    gateway: GatewaySettings = GatewaySettings()

    @field_validator("off")
    @classmethod
    def _known(cls, off: str) -> str:
        known = switches(cls)
        for key in _names(off):
            if key not in known:
                raise ValueError(f"{key!r} is none of {', '.join(sorted(known))}")
        return off

    @model_validator(mode="before")
    @classmethod
    def _switch_off(cls, values: Any) -> Any:
        """Hand `off` on to the sections whose switches it names."""
        if not isinstance(values, dict) or not values.get("off"):
            return values
        known, out = switches(cls), dict(values)
        for key in _names(str(values["off"])):
            section = out.get(known.get(key, ""), {})
            if key in known and isinstance(section, BaseModel):
                out[known[key]] = section.model_copy(update={key: False})
            elif key in known:
                out[known[key]] = {**section, key: False}
        return out

    @property
    def cache_server(self) -> SecretStr | None:
        """Where pages and features are kept; None without any server."""
        return self.cache_url or self.broker_url

    @classmethod
    def load(
        cls, *, file: Path | None = None, environ: dict[str, str] | None = None, **overrides: Any
    ) -> Settings:
        """Read a TOML file (GLYPH_SETTINGS_FILE by default), then GLYPH_* names over it.

        Raises InvalidSetting, naming the variable and the values it takes.
        """
        env = dict(os.environ if environ is None else environ)
        path = file or (Path(env["GLYPH_SETTINGS_FILE"]) if "GLYPH_SETTINGS_FILE" in env else None)
        env.pop("GLYPH_SETTINGS_FILE", None)
        values: dict[str, Any] = {}
        if path is not None:
            try:
                values = tomllib.loads(path.read_text())
            except (OSError, tomllib.TOMLDecodeError) as exc:
                raise InvalidSetting(f"settings file {path} cannot be read: {exc}") from exc
        for name, text in env.items():
            if name.startswith(PREFIX) and not name.startswith("GLYPH_TEST_"):
                _place(cls, values, name, text)
        values.update(overrides)
        _refuse_constants(cls, values)
        try:
            return cls.model_validate(values)
        except ValidationError as exc:
            raise InvalidSetting(_explain(exc)) from exc


def _place(cls: type[Settings], values: dict[str, Any], name: str, text: str) -> None:
    field = name.removeprefix(PREFIX).lower()
    if field in cls.model_fields:
        values[field] = text
        return
    section, _, key = field.partition("_")
    if key in sections(cls).get(section, {}):
        values.setdefault(section, {})[key] = text
        return
    # Limits read better without their section: GLYPH_MAX_PAGES.
    if field in LimitSettings.model_fields:
        values.setdefault("limits", {})[field] = text
        return
    raise InvalidSetting(
        f"{name} is no setting; `glyph-worker doctor --settings` lists all", name=name
    )


def sections(cls: type[Settings]) -> dict[str, dict[str, FieldInfo]]:
    """The fields of each section, by its name."""
    kinds = {name: field.annotation for name, field in cls.model_fields.items()}
    return {
        name: kind.model_fields
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, Section)
    }


def set_by(field: FieldInfo) -> str:
    """`user`, or GLYPH_OFF for a switch, or `code` for a constant."""
    extra = field.json_schema_extra
    return str(extra.get("set_by", "user")) if isinstance(extra, dict) else "user"


def switches(cls: type[Settings]) -> dict[str, str]:
    """Names that GLYPH_OFF takes, and the section of each."""
    return {
        key: section
        for section, fields in sections(cls).items()
        for key, field in fields.items()
        if set_by(field) == OFF
    }


def _names(off: str) -> list[str]:
    return [name for part in off.split(",") if (name := part.strip())]


def _refuse_constants(cls: type[Settings], values: dict[str, Any]) -> None:
    """Raises InvalidSetting, saying what to do instead."""
    for section, fields in sections(cls).items():
        for key in values.get(section, {}) if isinstance(values.get(section), dict) else ():
            name = f"{PREFIX}{section}_{key}".upper()
            if key in fields and set_by(fields[key]) == OFF:
                raise InvalidSetting(f"{name} is no setting; say {OFF}={key}", name=name)
            if key in fields and set_by(fields[key]) == "code":
                raise InvalidSetting(
                    f"{name} is no setting but a constant in glyph_worker/setting_sections.py",
                    name=name,
                )


def _explain(exc: ValidationError) -> str:
    lines = []
    for error in exc.errors(include_url=False):
        path = "_".join(str(part) for part in error["loc"]).upper()
        lines.append(f"{PREFIX}{path}: {error['msg']} (got {error.get('input')!r})")
    return "; ".join(lines)
