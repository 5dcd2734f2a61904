"""The settings of each part of the house, a section each. Reads nothing: see `settings`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

OFF = "GLYPH_OFF"


def switch() -> Any:
    """An optimisation or guard, on by default; GLYPH_OFF names those that are to be off."""
    return Field(default=True, json_schema_extra={"set_by": OFF})


def constant(**rules: Any) -> Any:
    """A value that nobody who runs the service has reason to change; code may, tests do."""
    return Field(**rules, json_schema_extra={"set_by": "code"})


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LimitSettings(Section):
    """What a job may ask for. Checked at submit and again in the workers."""

    max_document_bytes: int = Field(default=10_000_000, ge=1)
    """Largest document, UTF-8 bytes."""
    max_picture_bytes: int = constant(default=32_000_000, ge=1)
    """Most bytes of a document's pages that are pictures, as they are kept."""
    max_question_chars: int = Field(default=4_000, ge=1)
    """Longest question, characters."""
    max_pages: int = Field(default=1_000, ge=1)
    """Most pages one document may lay out to."""
    max_new_tokens: int = Field(default=1_024, ge=1)
    """Longest answer a job may ask for, tokens."""


class IntakeSettings(Section):
    """What reading one file may cost. HTML and PDF are read in a process of their own."""

    cpu_s: int = Field(default=20, ge=1)
    """Most CPU seconds to find a page's or a PDF's text; one that needs more is refused."""
    wall_s: float = Field(default=120.0, gt=0)
    """Longest time for the same by the clock, for machines that are busy."""
    memory_bytes: int = Field(default=1 << 30, ge=1 << 27)
    """Most memory for the same, as address space."""
    ocr_s: float = Field(default=300.0, gt=0)
    """Longest time to read a file's pictures by OCR (extra `ocr`); pages that are not read by then
    stay pictures without text."""
    ocr_memory_bytes: int = constant(default=3 << 30, ge=1 << 27)
    """Most memory for the same, as address space."""


class RenderSettings(Section):
    """How the render workers draw."""

    style: str = "auto"
    """Preset name or path of a style file; `auto` takes the checkpoint's own render style."""
    page_ttl_s: int = constant(default=3_600, ge=1)
    """How long a page image waits in the cache server for its encoder."""
    step_down_load: float = Field(default=2.5, ge=0)
    """(queued + running) / capacity at which jobs that allow it (`min_quality`) are drawn a preset
    denser, and another one after a while. 0: never."""
    step_up_load: float = Field(default=1.0, ge=0)
    """Load at which they are drawn a preset clearer again; well below `step_down_load`."""


class FeatureSettings(Section):
    """The page-feature cache."""

    ttl_s: int = Field(default=7 * 86_400, ge=1)
    """How long page features stay in the cache server."""
    store: bool = switch()
    """Off: nothing is asked of, fetched from or published to the cache server."""
    device_bytes: int = Field(default=1 << 30, ge=0)
    """Features kept in the device's memory, bytes. 0 keeps none."""
    host_bytes: int = Field(default=4 << 30, ge=0)
    """Features kept in host memory behind a GPU's, bytes. Unused on the CPU, which is its own."""
    micro_batch: int = Field(default=8, ge=1, le=256)
    """Most pages encoded together."""
    single_flight: bool = switch()
    """One encode per page across all workers. Off: each worker encodes what it lacks."""
    claim_lease_s: float = constant(default=3.0, gt=0.05)
    """A dead worker's pages are taken over after this time."""
    claim_patience_s: float = constant(default=30.0, gt=0)
    """Longest wait for another worker's encode before a page is encoded here as well."""
    break_even: bool = switch()
    """Measure, and leave the cache server alone where it costs more than it saves. Off: always
    use it."""
    timeout_s: float = Field(default=0.5, gt=0)
    """Longest wait for the cache server's answer to a question."""
    transfer_timeout_s: float = constant(default=5.0, gt=0)
    """Longest stall of a transfer of features; jobs wait for none longer than an encode takes."""
    chunk_bytes: int = constant(default=16 << 20, ge=1024)
    """Values above this are stored in chunks."""
    packing: Literal["raw", "packed", "int8"] = "raw"
    """`packed`: smaller, lossless, slower. `int8`: half or a quarter, and lossy: see the drift
    table in ops/bench/results before turning it on."""
    audit_share: float = Field(default=0.002, ge=0, le=1)
    """Share of the cache server's hits that are computed again and compared."""
    quarantine_s: int = constant(default=3_600, ge=1)
    """How long a digest that failed its audit may not be cached."""
    shared_pool: bool = False
    """One pool for all tenants. Off: tenants cannot tell by timing what others have asked."""
    salt_secret: SecretStr = SecretStr("")
    """Mixed into every tenant's salt; the same on all workers."""


class EngineSettings(Section):
    """The batched engine. Every optimisation has its own off-switch; 0 means chosen by device."""

    max_slots: int = Field(default=16, ge=1, le=1_024)
    """Sequences decoded together."""
    threads: int = Field(default=0, ge=0, le=1_024)
    """CPU threads of one matrix product. 0: half the cores, because pages are encoded beside the
    answers, and all of them for a large step while none is; never more than OMP_NUM_THREADS says.
    They wait for each other asleep, where OMP_WAIT_POLICY says nothing else. Unused on CUDA."""
    prefill_tokens: int = Field(default=0, ge=0)
    """Most prompt tokens prefilled in one step, so that running answers keep flowing."""
    window_tokens: int = Field(default=0, ge=0)
    """Most tokens of one sequence, pages and answer together; 0 is the checkpoint's own window."""
    kv_bytes: int = Field(default=0, ge=0)
    """Memory for keys and values; 0 is what is free after the weights and a measured peak."""
    kv_host_bytes: int = Field(default=0, ge=0)
    """Host memory for evicted document prefixes; 0 drops them."""
    block_tokens: int = constant(default=0, ge=0, le=1_024)
    """Tokens in one block of the KV pool."""
    prefix_sharing: bool = switch()
    """Keep a document's keys and values once, for all questions on it."""
    grouped_decode: bool = switch()
    """Read a shared prefix once per step for all its questions, not once per question."""
    fetch_tokens: int = constant(default=65_536, ge=1)
    """Most visual tokens whose features wait in memory for their turn; one document always may."""
    fetch_window_pages: int = constant(default=16, ge=1)
    """Pages asked for at once, so that a long document is prefilled while its rest is encoded."""
    prefill_as_landed: bool = switch()
    """Prefill a document's first pages while the rest of its window is encoded."""
    affinity: bool = switch()
    """Questions on a resident document go first, within the age limit."""
    max_age_s: float = constant(default=10.0, gt=0)
    """After each such wait a sequence counts as one priority higher; nothing starves."""
    finite_guard: bool = switch()
    """Check every step's logits; a sequence that overflows starts again in bfloat16."""
    attention: Literal["auto", "plain", "torch", "triton"] = "auto"
    """Attention kernels: triton on CUDA, torch elsewhere. `plain`: nothing fused, all scores in
    memory; for comparison."""
    cuda_graphs: bool = switch()
    """Replay decode steps as CUDA graphs, all of them captured before the first job."""
    compile: bool = switch()
    """Compile the vision tower's blocks on CUDA, once at load; never on CPU."""
    packed_weights: bool = switch()
    """Lay float32 matrices out for the CPU beforehand: twice the memory, 2 to 4 times the speed."""
    int8_weights: Literal["auto", "true", "false"] = "auto"
    """Keep the language model's matrices as 8-bit integers with a scale per row. `auto`: on CUDA,
    where 16 bits would leave keys and values less than a hundred pages; never on the CPU."""
    self_test: bool = switch()
    """At load, compare logits with the library's own forward and refuse to serve if they differ."""
    step_timeout_s: float = Field(default=120.0, gt=0)
    """A step longer than this hangs: the engine ends itself and its jobs run elsewhere."""

    @field_validator("int8_weights", mode="before")
    @classmethod
    def _as_word(cls, given: object) -> object:
        return str(given).lower() if isinstance(given, bool) else given


class VllmSettings(Section):
    """vLLM inside the answer worker (GLYPH_BACKEND=vllm). It shares GLYPH_ENGINE_MAX_SLOTS,
    GLYPH_ENGINE_WINDOW_TOKENS, GLYPH_DEVICE and GLYPH_DTYPE with our own engine."""

    tensor_parallel: int = Field(default=1, ge=1, le=64)
    """GPUs that one copy of the language model is spread over."""
    args: str = ""
    """Further engine arguments of vLLM's as a JSON object, e.g. {"quantization": "fp8"}."""


class RemoteSettings(Section):
    """Another server that answers (GLYPH_BACKEND=remote). GLYPH_MODEL is a folder of the
    checkpoint that it serves, for page sizes and token counts; weights are not needed there.
    GLYPH_ENGINE_MAX_SLOTS jobs are asked at once."""

    url: str = Field(default="", pattern=r"^(https?://[^\s?#]+)?$")
    """Its OpenAI-style address, up to and with `/v1`."""
    model: str = ""
    """The model's name there. Empty: the first of its list."""
    api_key: SecretStr = SecretStr("")
    """Sent as a bearer token."""
    dialect: Literal["openai", "vllm"] = "vllm"
    """`vllm` also sends what vLLM's server adds: page digests, top_k, forms by choices and regular
    expression, thinking on and off. `openai` sends none of it, and such jobs are refused."""
    priorities: bool = False
    """Send bulk jobs as less urgent; vLLM's server must run with `--scheduling-policy priority`."""
    connect_timeout_s: float = constant(default=5.0, gt=0)
    """Longest wait for a connection."""
    patience_s: float = constant(default=60.0, gt=0)
    """Longest wait for a server that says it is busy (429, 503), and at start for one that is not
    up yet (ten times as long)."""
    read_timeout_s: float = constant(default=300.0, gt=0)
    """Longest silence within an answer, its prompt's reading included."""


class QueueSettings(Section):
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


class GatewaySettings(Section):
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
    max_streams: int = constant(default=1_000, ge=1)
    """Most event streams open at once."""
    stream_idle_s: float = constant(default=15.0, gt=0)
    """A stream without news gets a comment this often, so that proxies keep it."""
    drain_s: float = Field(default=10.0, ge=0)
    """After SIGTERM, time for requests and streams to end."""
    metrics_token: SecretStr = SecretStr("")
    """Bearer token that /metrics asks for; empty: any tenant's key, or none where none is set."""
    webhook_secret: SecretStr = SecretStr("")
    """Signs webhooks (`whsec_` and base64, 24 to 64 bytes). Empty: webhooks are refused."""
    webhook_private: bool = False
    """Allow webhooks to loopback, private and link-local addresses."""
    document_urls: bool = False
    """Fetch documents that are given as `document_url`, from public addresses alone."""
    document_url_timeout_s: float = constant(default=30.0, gt=0)
    """Longest time for one, redirects and all."""
    webhook_attempts: int = Field(default=8, ge=1)
    """Deliveries tried before a webhook is given up."""
    webhook_pause_s: float = Field(default=5.0, gt=0)
    """Pause before the second try; each further one is six times as long, up to six hours."""
    webhook_timeout_s: float = Field(default=10.0, gt=0)
    """Longest wait for a receiver's answer."""
