"""What an answer's form costs: compiling it, a mask per token, and a step of sixteen answers.

Two vocabularies: the embedded reader's 256 characters, and 150,000 byte pairs (o200k's). Both sides
of a step write the same tokens, forced, one with a form and one without, in turns. Then a thousand
answers, each with one of several schemas: all that end by themselves must be valid.
Usage: ops/bench/grammar [--quick] [--json PATH] [--rounds N].
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpe_openai
import jsonschema
import llguidance
import numpy as np
import torch
from synthetic.checkpoints import (
    SHAPES,
    SPECIALS,
    as_glm,
    write_checkpoint,
)
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from bench.machine import commit, device_name, publish
from glyph_worker.answer_form import AnswerForm
from glyph_worker.engine.engine import AnswerRequest
from glyph_worker.engine.grammar import Grammars
from glyph_worker.engine.prepare import prepare
from glyph_worker.engine.selftest import Drive, page_inputs
from glyph_worker.job_options import Sampling
from glyph_worker.model.checkpoint import load_reader
from glyph_worker.model.embedded import checkpoint_path
from glyph_worker.model.reader import Reader
from glyph_worker.setting_sections import EngineSettings

NUM_SLOTS = 16
LARGE = 151_552
"""GLM's vocabulary."""
WORD = {"type": "string", "maxLength": 12}
INVOICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "number": {"type": "string", "maxLength": 20},
        "date": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        "total": {"type": "number", "minimum": 0, "maximum": 99999},
        "paid": {"type": "boolean"},
        "currency": {"enum": ["EUR", "USD", "GBP"]},
        "lines": {
            "type": "array",
            "maxItems": 2,
            "items": {
                "type": "object",
                "properties": {"name": WORD, "quantity": {"type": "integer", "maximum": 999}},
                "required": ["name", "quantity"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["number", "date", "total", "paid", "currency", "lines"],
    "additionalProperties": False,
}
SAMPLE = (
    '{"number": "INV-4711/b", "date": "2026-12-01", "total": 1204.5, "paid": true, '
    '"currency": "EUR", "lines": [{"name": "a desk, oak", "quantity": 12}, '
    '{"name": "lamp", "quantity": 4}]}'
)
SCHEMAS: dict[str, dict[str, Any]] = {
    "invoice": INVOICE,
    "choice": {"enum": ["Orchid GmbH", "Kestrel & Sons", None, 7, {"a": [1, "x"]}]},
    "list": {"type": "array", "items": WORD, "minItems": 1, "maxItems": 3},
    "either": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": -9, "maximum": 99}]},
    "tree": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z]{1,3}$"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["name", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "time": {
        "type": "object",
        "properties": {"at": {"type": "string", "format": "date"}, "by": WORD},
        "required": ["at", "by"],
        "additionalProperties": False,
    },
}


def form_of(schema: dict[str, Any]) -> AnswerForm:
    named = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    form = AnswerForm.of(response_format=named)
    assert form is not None
    return form


def byte_pairs(size: int) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of `size` of o200k's tokens, without its merges."""
    shown = {byte: char for char, byte in _alphabet().items()}
    source = bpe_openai.get_encoding("o200k_base")
    names = dict.fromkeys(SPECIALS)
    for token in range(size):
        raw = source.decode_single_token_bytes(token)
        names["".join(shown[byte] for byte in raw)] = None
        if len(names) == size:
            break
    core = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, special=True) for name in SPECIALS[:2]])
    return as_glm(core)


def _alphabet() -> dict[str, int]:
    from glyph_worker.model.token_bytes import _byte_alphabet

    return _byte_alphabet()


def large_reader(folder: Path, *, quick: bool) -> Reader:
    """Random weights of `small`, and a vocabulary as large as the real one."""
    shape = SHAPES["tiny" if quick else "small"]
    write_checkpoint(folder, {**shape, "text": {**shape["text"], "vocab_size": LARGE}})
    byte_pairs(150_000).save_pretrained(folder)
    return load_reader(folder, threads=1)


def longest_first(reader: Reader, text: str) -> list[int]:
    """Tokens as a model writes them: the longest that fits."""
    by_bytes = {reader.prompt.token_bytes(t): t for t in range(len(reader.prompt.tokenizer))}
    raw, out = text.encode(), []
    while raw:
        size = next(n for n in range(min(32, len(raw)), 0, -1) if raw[:n] in by_bytes)
        out.append(by_bytes[raw[:size]])
        raw = raw[size:]
    return out


def mask_costs(reader: Reader) -> dict[str, Any]:
    """CPU milliseconds: the vocabulary once, a form's first use, another use, and a token."""
    grammars = Grammars(reader.prompt, reader.language.vocab_size)
    began = time.process_time()
    grammars.start(form_of({"type": "null"}))
    vocabulary_ms = (time.process_time() - began) * 1e3
    out: dict[str, Any] = {"vocabulary_ms": round(vocabulary_ms, 1)}
    tokens = longest_first(reader, SAMPLE)
    for name, schema in SCHEMAS.items():
        began = time.process_time()
        grammars.start(form_of(schema))
        out[f"{name}_compile_ms"] = round((time.process_time() - began) * 1e3, 2)
    spent: list[float] = []
    for _ in range(20):
        began = time.process_time()
        state = grammars.start(form_of(INVOICE))
        out["again_ms"] = round((time.process_time() - began) * 1e3, 3)
        mask = np.zeros(grammars.num_words, dtype=np.int32)
        for token in tokens:
            began = time.process_time()
            state.fill(mask)
            state.take(token)
            spent.append(time.process_time() - began)
    spent.sort()
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        out[f"token_{name}_us"] = round(spent[int(len(spent) * share)] * 1e6, 1)
    return out


def sixteen(reader: Reader, form: AnswerForm | None, tokens: list[int]) -> Drive:
    """Sixteen answers in their slots, each of which takes these tokens."""
    drive = Drive(reader, EngineSettings(max_slots=NUM_SLOTS, kv_bytes=256 << 20))
    drive.core.runner.observe = None
    page = np.full((56, 112), 255, dtype=np.uint8)
    for slot in range(NUM_SLOTS):
        request = AnswerRequest(
            sequence_id=f"s{slot}",
            pages=page_inputs([page], "bench"),
            question=f"what is {slot}?",
            max_new_tokens=len(tokens),
            form=form,
        )
        drive.add(request, [page], list(tokens))
    while any(len(live.token_ids) < 2 for live in drive.core.live.values()):
        drive.step()
    return drive


def step_cost(reader: Reader, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """CPU seconds of a step with and without a form, in turns: both meet the same machine."""
    tokens = longest_first(reader, SAMPLE)
    sides: dict[str, list[float]] = {"free": [], "formed": []}
    ratios: list[float] = []
    for number in range(rounds):
        drives = {
            "free": sixteen(reader, None, tokens),
            "formed": sixteen(reader, form_of(INVOICE), tokens),
        }
        spent: dict[str, list[float]] = {name: [] for name in sides}
        while all(len(drive.core.live) == NUM_SLOTS for drive in drives.values()):
            for name in list(drives) if len(spent["free"]) % 2 else list(reversed(drives)):
                began = time.process_time()
                drives[name].step()
                spent[name].append(time.process_time() - began)
        for name, seconds in spent.items():
            sides[name].append(statistics.median(seconds[:-1]))
        ratios.append(sides["formed"][-1] / sides["free"][-1])
        say(f"round {number}: { ({name: round(s[-1] * 1e3, 3) for name, s in sides.items()}) } ms")
    return {
        "step_ms": {name: round(statistics.median(s) * 1e3, 3) for name, s in sides.items()},
        "overhead": round(statistics.median(ratios) - 1, 4),
        "spread": round(max(ratios) - min(ratios), 4),
    }


def valid_answers(reader: Reader, count: int) -> dict[str, int]:
    """Random answers with each schema in turn; the weights know nothing, the masks all."""
    drive = Drive(reader, EngineSettings(max_slots=NUM_SLOTS, kv_bytes=256 << 20))
    drive.core.runner.observe = None
    page = np.full((56, 112), 255, dtype=np.uint8)
    texts: dict[str, list[int]] = {}
    keep = drive.core.end

    def end(live: Any, *args: Any, **more: Any) -> None:
        texts[live.request.sequence_id] = list(live.token_ids)
        keep(live, *args, **more)

    drive.core.end = end  # type: ignore[method-assign]
    names = list(SCHEMAS)
    for number in range(count):
        request = AnswerRequest(
            sequence_id=f"{number}",
            pages=page_inputs([page], "bench"),
            question="what?",
            max_new_tokens=400,
            form=form_of(SCHEMAS[names[number % len(names)]]),
            sampling=Sampling(temperature=1.0, seed=number),
        )
        drive.add(request, [page], None)
    drive.finish()
    found = {"valid": 0, "invalid": 0, "length": 0, "failed": 0}
    for number in range(count):
        ended = drive.ended[f"{number}"]
        if ended != "stop":
            found["length" if ended == "length" else "failed"] += 1
            continue
        text = reader.prompt.answer_text()
        text.feed(texts[f"{number}"], verbatim_from=0)
        try:
            jsonschema.validate(json.loads(text.finish()), SCHEMAS[names[number % len(names)]])
            found["valid"] += 1
        except (ValueError, jsonschema.ValidationError):
            found["invalid"] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="does it run?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 1 if options.quick else options.rounds

    def say(text: str) -> None:
        print(text, flush=True)

    small = load_reader(checkpoint_path(), threads=1)
    prepare(small, EngineSettings())
    with tempfile.TemporaryDirectory() as folder:
        large = large_reader(Path(folder), quick=options.quick)
        masks = {"256": mask_costs(small), "150k": mask_costs(large)}
        say(json.dumps(masks))
        steps = {"256": step_cost(small, rounds, say), "150k": step_cost(large, rounds, say)}
        say(json.dumps(steps))
    answers = valid_answers(small, 60 if options.quick else 1_000)
    ended = answers["valid"] + answers["invalid"]
    measured = {
        "overhead_256": (steps["256"]["overhead"], 0.05, False),
        "overhead_150k": (steps["150k"]["overhead"], 0.05, False),
        "valid_share": (round(answers["valid"] / max(1, ended), 4), 1.0, True),
        "failed": (answers["failed"], 0, False),
    }
    report = {
        "bench": "grammar",
        "commit": commit(),
        "device": device_name(),
        "settings": {
            "quick": options.quick, "slots": NUM_SLOTS, "rounds": rounds,
            "llguidance": llguidance.get_version(), "torch": torch.__version__,
        },
        "masks": masks,
        "steps": steps,
        "answers": answers,
        "ratios": {name: value for name, (value, _, _) in measured.items()},
        "bars": {
            name: {
                "value": value, "target": target,
                "met": value >= target if more else value <= target,
            }
            for name, (value, target, more) in measured.items()
        },
        "spread": {name: step["spread"] for name, step in steps.items()},
    }  # fmt: skip
    publish(report, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
