"""Names a checkpoint by its bytes: same digest, same numbers. The folder's path plays no part."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from glyph_worker.document import digest

# Written by the library at each save; they change no number.
_NOISE = {"transformers_version", "_name_or_path", "torch_dtype", "dtype"}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_digest(folder: Path) -> str:
    """Hex digest over the configuration and the bytes of all weight files.

    A 20 GB checkpoint takes some ten seconds: hashing runs on four threads.
    """
    config = _plain(json.loads((folder / "config.json").read_text()))
    files = sorted((*folder.glob("*.safetensors"), *folder.glob("*.bin")))
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(file_digest, files))
    return digest("checkpoint", json.dumps(config, sort_keys=True), *digests)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in _NOISE}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
