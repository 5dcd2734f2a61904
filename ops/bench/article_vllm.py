"""The vLLM peer of ops/bench/article: `LLM.generate`, by a Python of its own that can import it.

Given its order as JSON on standard input, like the other peers, but pages already drawn: what
prompts are made of lies in files, so that nothing of this system is needed here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from bench.article_rows import VLLM_IMAGES, VLLM_KV_GB, VLLM_TOKENS

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # one process, so that its memory can be told
os.environ["VLLM_CPU_KVCACHE_SPACE"] = VLLM_KV_GB

from PIL import Image
from vllm import LLM, SamplingParams

from bench.article_report import summary
from bench.machine import forget_peak, peak_bytes, resident_bytes

Prompts = list[dict[str, Any]]


def read(jobs: list[dict[str, Any]]) -> Prompts:
    """The jobs' prompts, their pages decoded once per document."""
    pages = {path: Image.open(path).convert("RGB") for job in jobs for path in job["pages"]}
    return [
        {
            "prompt_token_ids": job["token_ids"],
            "multi_modal_data": {"image": [pages[path] for path in job["pages"]]},
        }
        for job in jobs
    ]


def forget(llm: LLM) -> None:
    llm.reset_prefix_cache()
    llm.reset_mm_cache()
    llm.llm_engine.reset_encoder_cache()


def measure(order: dict[str, Any]) -> dict[str, Any]:
    """Every mix, all of its jobs handed in at once, caches empty at its beginning."""
    llm = LLM(
        order["model"],
        dtype="float32",
        max_model_len=VLLM_TOKENS,
        limit_mm_per_prompt={"image": VLLM_IMAGES, "video": 0},
        enable_prefix_caching=True,
        skip_mm_profiling=True,  # one image of 30,000 tokens: minutes on a CPU
        disable_log_stats=False,  # the jobs' own times
    )
    greedy = SamplingParams(temperature=0, max_tokens=order["tokens"])
    llm.generate(read(order["warm_up"]), greedy, use_tqdm=False)
    me, found = os.getpid(), {}
    ready = resident_bytes(me)
    for name, jobs in order["mixes"].items():
        prompts = read(jobs)
        forget(llm)
        forget_peak(me)
        began = time.monotonic()
        outputs = llm.generate(prompts, greedy, use_tqdm=False)
        wall_s = time.monotonic() - began
        for job, output in zip(jobs, outputs, strict=True):
            if len(output.prompt_token_ids) != job["num_tokens"]:
                seen = len(output.prompt_token_ids)
                raise RuntimeError(f"{seen} tokens of prompt, not {job['num_tokens']}")
        times_ms = [(output.metrics.last_token_ts - began) * 1e3 for output in outputs]
        peak = peak_bytes(me)
        found[name] = summary(times_ms, wall_s, ()) | {
            "peak_bytes": peak, "beyond_weights_bytes": peak - ready,
        }  # fmt: skip
    return found


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
