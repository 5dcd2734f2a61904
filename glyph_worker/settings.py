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
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from glyph_worker.errors import InvalidSetting

PREFIX = "GLYPH_"


OFF = "GLYPH_OFF"


def _switch() -> Any:
    """An optimisation or guard, on by default; GLYPH_OFF names those that are to be off."""
    return Field(default=True, json_schema_extra={"set_by": OFF})


def _constant(**rules: Any) -> Any:
    """A value that nobody who runs the service has reason to change; code may, tests do."""
    return Field(**rules, json_schema_extra={"set_by": "code"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LimitSettings(_Section):
    """What a job may ask for. Checked at submit and again in the workers."""

    max_document_bytes: int = Field(default=10_000_000, ge=1)
    """Largest document, UTF-8 bytes."""
    max_question_chars: int = Field(default=4_000, ge=1)
    """Longest question, characters."""
    max_pages: int = Field(default=1_000, ge=1)
    """Most pages one document may lay out to."""
    max_new_tokens: int = Field(default=1_024, ge=1)
    """Longest answer a job may ask for, tokens."""


class IntakeSettings(_Section):
    """What reading one file may cost. HTML and PDF are read in a process of their own."""

    cpu_s: int = Field(default=20, ge=1)
    """Most CPU seconds to find a page's or a PDF's text; one that needs more is refused."""
    wall_s: float = Field(default=120.0, gt=0)
    """Longest time for the same by the clock, for machines that are busy."""
    memory_bytes: int = Field(default=1 << 30, ge=1 << 27)
    """Most memory for the same, as address space."""


class RenderSettings(_Section):
    """How the render workers draw."""

    style: str = "auto"
    """Preset name or path of a style file; `auto` takes the checkpoint's own render style."""
    page_ttl_s: int = _constant(default=3_600, ge=1)
    """How long a page image waits in the cache server for its encoder."""
    step_down_load: float = Field(default=2.5, ge=0)
    """(queued + running) / capacity at which jobs that allow it (`min_quality`) are drawn a preset
    denser, and another one after a while. 0: never."""
    step_up_load: float = Field(default=1.0, ge=0)
    """Load at which they are drawn a preset clearer again; well below `step_down_load`."""


class FeatureSettings(_Section):
    """The page-feature cache."""

    ttl_s: int = Field(default=7 * 86_400, ge=1)
    """How long page features stay in the cache server."""
    store: bool = _switch()
    """Off: nothing is asked of, fetched from or published to the cache server."""
    device_bytes: int = Field(default=1 << 30, ge=0)
    """Features kept in the device's memory, bytes. 0 keeps none."""
    host_bytes: int = Field(default=4 << 30, ge=0)
    """Features kept in host memory behind a GPU's, bytes. Unused on the CPU, which is its own."""
    micro_batch: int = Field(default=8, ge=1, le=256)
    """Most pages encoded together."""
    single_flight: bool = _switch()
    """One encode per page across all workers. Off: each worker encodes what it lacks."""
    claim_lease_s: float = _constant(default=3.0, gt=0.05)
    """A dead worker's pages are taken over after this time."""
    claim_patience_s: float = _constant(default=30.0, gt=0)
    """Longest wait for another worker's encode before a page is encoded here as well."""
    break_even: bool = _switch()
    """Measure, and leave the cache server alone where it costs more than it saves. Off: always
    use it."""
    timeout_s: float = Field(default=0.5, gt=0)
    """Longest wait for the cache server's answer to a question."""
    transfer_timeout_s: float = _constant(default=5.0, gt=0)
    """Longest stall of a transfer of features; jobs wait for none longer than an encode takes."""
    chunk_bytes: int = _constant(default=16 << 20, ge=1024)
    """Values above this are stored in chunks."""
    packing: Literal["raw", "packed", "int8"] = "raw"
    """`packed`: smaller, lossless, slower. `int8`: half or a quarter, and lossy: see the drift
    table in ops/bench/results before turning it on."""
    audit_share: float = Field(default=0.002, ge=0, le=1)
    """Share of the cache server's hits that are computed again and compared."""
    quarantine_s: int = _constant(default=3_600, ge=1)
    """How long a digest that failed its audit may not be cached."""
    shared_pool: bool = False
    """One pool for all tenants. Off: tenants cannot tell by timing what others have asked."""
    salt_secret: SecretStr = SecretStr("")
    """Mixed into every tenant's salt; the same on all workers."""


class EngineSettings(_Section):
    """The batched engine. Every optimisation has its own off-switch; 0 means chosen by device."""

    max_slots: int = Field(default=16, ge=1, le=1_024)
    """Sequences decoded together."""
    threads: int = Field(default=0, ge=0, le=1_024)
    """CPU threads of one matrix product. 0: half the cores, because pages are encoded beside the
    answers, and all of them for a large step while none is; never more than OMP_NUM_THREADS says.
    Unused on CUDA."""
    prefill_tokens: int = Field(default=0, ge=0)
    """Most prompt tokens prefilled in one step, so that running answers keep flowing."""
    window_tokens: int = Field(default=0, ge=0)
    """Most tokens of one sequence, pages and answer together; 0 is the checkpoint's own window."""
    kv_bytes: int = Field(default=0, ge=0)
    """Memory for keys and values; 0 is what is free after the weights and a measured peak."""
    kv_host_bytes: int = Field(default=0, ge=0)
    """Host memory for evicted document prefixes; 0 drops them."""
    block_tokens: int = _constant(default=0, ge=0, le=1_024)
    """Tokens in one block of the KV pool."""
    prefix_sharing: bool = _switch()
    """Keep a document's keys and values once, for all questions on it."""
    grouped_decode: bool = _switch()
    """Read a shared prefix once per step for all its questions, not once per question."""
    fetch_tokens: int = _constant(default=65_536, ge=1)
    """Most visual tokens whose features wait in memory for their turn; one document always may."""
    fetch_window_pages: int = _constant(default=16, ge=1)
    """Pages asked for at once, so that a long document is prefilled while its rest is encoded."""
    prefill_as_landed: bool = _switch()
    """Prefill a document's first pages while the rest of its window is encoded."""
    affinity: bool = _switch()
    """Questions on a resident document go first, within the age limit."""
    max_age_s: float = _constant(default=10.0, gt=0)
    """After each such wait a sequence counts as one priority higher; nothing starves."""
    finite_guard: bool = _switch()
    """Check every step's logits; a sequence that overflows starts again in bfloat16."""
    attention: Literal["auto", "plain", "torch", "triton"] = "auto"
    """Attention kernels: triton on CUDA, torch elsewhere. `plain`: nothing fused, all scores in
    memory; for comparison."""
    cuda_graphs: bool = _switch()
    """Replay decode steps, and micro-batches of pages that come again, as CUDA graphs."""
    compile: bool = _switch()
    """Compile the vision tower on CUDA; never on CPU."""
    packed_weights: bool = _switch()
    """Lay float32 matrices out for the CPU beforehand: twice the memory, 2 to 4 times the speed."""
    int8_weights: bool = False
    """Keep the language model's matrices as 8-bit integers with a scale per row."""
    self_test: bool = _switch()
    """At load, compare logits with the library's own forward and refuse to serve if they differ."""
    step_timeout_s: float = Field(default=120.0, gt=0)
    """A step longer than this hangs: the engine ends itself and its jobs run elsewhere."""


class QueueSettings(_Section):
    """Lease, retries, drain and the time to live of records."""

    lease_s: int = Field(default=30, ge=3)
    """Right to work on a message; a dead worker's jobs run elsewhere after this time."""
    drain_s: float = Field(default=20, ge=0)
    """After SIGTERM, time to finish before unfinished jobs are handed back; below the lease."""
    job_ttl_s: int = Field(default=86_400, ge=10)
    """How long a record and its answer outlive the job's end."""
    max_jobs: int = Field(default=100_000, ge=1)
    """Most unfinished jobs; above it a submit is refused with retry_after_s."""
    max_jobs_per_tenant: int = Field(default=20_000, ge=1)
    """Most unfinished jobs of one tenant."""
    dispatch_window: int = Field(default=8, ge=1)
    """Messages that wait on Celery's queues, first come first served; the rest wait behind them,
    fair over tenants. Large: fewer round trips. Small: a newcomer's turn comes sooner."""
    max_attempts: int = Field(default=5, ge=1)
    """Attempts of one job before a transient error becomes its failure."""


class GatewaySettings(_Section):
    """The HTTP gateway: who may speak to it, how much, and where it may call back."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback it needs api_keys, or `open`."""
    port: int = Field(default=8080, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""
    api_keys: SecretStr = SecretStr("")
    """`tenant:key,tenant:key,…`; a tenant may have several. Empty: no key is asked, one tenant."""
    api_keys_file: Path | None = None
    """The same, one per line, from a file; added to `api_keys`."""
    open: bool = False
    """Listen beyond loopback without keys all the same: only behind a proxy that asks for them."""
    cors_origins: str = ""
    """Origins whose pages may call the API from a browser, comma-separated. Empty: none."""
    max_body_bytes: int = Field(default=24_000_000, ge=1_024)
    """Largest request body; more is refused while it streams in."""
    max_connections: int = Field(default=0, ge=0)
    """Most open connections, some more for health checks apart; 0: what descriptors allow."""
    request_timeout_s: float = Field(default=15.0, gt=0)
    """Longest wait for a request's head, and until its body comes at 10 kB/s or faster."""
    max_questions: int = Field(default=1_000, ge=1)
    """Most questions in one batch request."""
    max_wait_s: float = Field(default=60.0, ge=0)
    """Longest long poll and longest wait of POST /infer."""
    max_streams: int = _constant(default=1_000, ge=1)
    """Most event streams open at once."""
    stream_idle_s: float = _constant(default=15.0, gt=0)
    """A stream without news gets a comment this often, so that proxies keep it."""
    drain_s: float = Field(default=10.0, ge=0)
    """After SIGTERM, time for requests and streams to end."""
    metrics_token: SecretStr = SecretStr("")
    """Bearer token that /metrics asks for; empty: any tenant's key, or none where none is set."""
    webhook_secret: SecretStr = SecretStr("")
    """Signs webhooks (`whsec_` and base64, 24 to 64 bytes). Empty: webhooks are refused."""
    webhook_private: bool = False
    """Allow webhooks to loopback, private and link-local addresses."""
    webhook_attempts: int = Field(default=8, ge=1)
    """Deliveries tried before a webhook is given up."""
    webhook_pause_s: float = Field(default=5.0, gt=0)
    """Pause before the second try; each further one is six times as long, up to six hours."""
    webhook_timeout_s: float = Field(default=10.0, gt=0)
    """Longest wait for a receiver's answer."""


class Settings(_Section):
    """All of it. Field names are environment names: `broker_url` is GLYPH_BROKER_URL."""

    broker_url: SecretStr | None = None
    """Redis for records, blobs and queues (AOF, noeviction). None: none configured."""
    cache_url: SecretStr | None = None
    """Redis for pages and features (allkeys-lru). None: the broker's; see `cache_server`."""
    key_prefix: str = Field(default="glyph", pattern=r"^[a-z0-9_-]{1,32}$")
    """First part of every key."""
    model: str = "nano"
    """Checkpoint folder, or `nano` for the embedded reader."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """`auto`: float16 on CUDA, float32 on CPU. A CPU that has no products of 16-bit numbers stores
    them so and multiplies in float32."""
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
        if isinstance(kind, type) and issubclass(kind, _Section)
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
                    f"{name} is no setting but a constant in glyph_worker/settings.py", name=name
                )


def _explain(exc: ValidationError) -> str:
    lines = []
    for error in exc.errors(include_url=False):
        path = "_".join(str(part) for part in error["loc"]).upper()
        lines.append(f"{PREFIX}{path}: {error['msg']} (got {error.get('input')!r})")
    return "; ".join(lines)
