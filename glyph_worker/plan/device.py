"""What one answer worker's device does, in seconds for each piece of work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from glyph_worker.errors import InvalidOption


class Device(BaseModel):
    """Costs add up: a device that is full does one thing at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    source: str
    """Where the numbers are from: a bench's result with its commit, or a calculation."""
    encode_s: float = Field(ge=0)
    """Seconds to encode one visual token."""
    prefill_s: float = Field(ge=0)
    """Seconds to prefill one token."""
    decode_s: float = Field(ge=0)
    """Seconds of the device for one answer token in a full batch."""
    job_s: float = Field(ge=0)
    """Seconds of the device for whatever a job costs beside its tokens."""
    feature_bytes: float = Field(gt=0)
    """Bytes of one visual token's features."""
    kv_bytes: float = Field(gt=0)
    """Bytes of one token's keys and values."""
    kv_room_bytes: float = Field(gt=0)
    """Bytes for keys and values on one device."""
    hour_cost: float = Field(default=0, ge=0)
    """Price of an hour, in any currency."""

    def seconds(self, *, encoded: float, prefilled: float, answered: float, jobs: float) -> float:
        """Device time for so many visual tokens, prompt tokens, answer tokens and jobs."""
        return (
            encoded * self.encode_s
            + prefilled * self.prefill_s
            + answered * self.decode_s
            + jobs * self.job_s
        )


def shipped_devices() -> dict[str, Device]:
    """Devices that the package knows, by name."""
    raw = resources.files("glyph_worker.plan").joinpath("devices.json").read_text()
    return {fields["name"]: Device.model_validate(fields) for fields in json.loads(raw)}


def find_device(name_or_path: str, *, changes: Mapping[str, Any]) -> Device:
    """A shipped device, or one from a JSON file as `ops/bench/plan --device-json` writes it.

    Raises InvalidOption, naming the shipped ones.
    """
    shipped = shipped_devices()
    try:
        if name_or_path in shipped:
            device = shipped[name_or_path]
        else:
            device = Device.model_validate_json(Path(name_or_path).read_bytes())
    except OSError as exc:
        raise InvalidOption(
            f"no device is called {name_or_path!r} and no such file can be read; "
            f"devices are {', '.join(shipped)}"
        ) from exc
    except ValidationError as exc:
        raise InvalidOption(f"{name_or_path} describes no device: {exc}") from exc
    return device.model_copy(update=dict(changes))
