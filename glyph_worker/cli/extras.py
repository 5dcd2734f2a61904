"""Which extra a command needs, by the package's metadata, and what to say where it is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator

from packaging.requirements import Requirement

from glyph_worker.errors import MissingExtra

PACKAGE = "glyph_worker"
LIGHT = "+light"
"""Ends the version of the wheel that `ops/package` makes for those who only ask: no extras of
workers, no checkpoint and no fonts."""

# Distributions whose modules have another name.
_MODULES = {
    "fonttools": "fontTools",
    "nvidia-ml-py": "pynvml",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry-sdk": "opentelemetry.sdk",
    "pillow": "PIL",
    "python-bidi": "bidi",
    "python-multipart": "python_multipart",
}
_USEFUL = ("nvidia-ml-py", "numba")  # what works without them says so itself


def require(extra: str) -> None:
    """Raises MissingExtra when a distribution of the extra is not installed."""
    if _is_light() and extra not in _offered():
        raise missing_extra("what workers need", extra)
    if missing := [name for name in distributions(extra) if not _is_installed(name)]:
        raise missing_extra(", ".join(missing), extra)


def explained(error: ModuleNotFoundError) -> MissingExtra | None:
    """What a failed import means to the user; None where no extra would mend it."""
    wanted = (error.name or "").partition(".")[0]
    try:
        extras = importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or ()
    except importlib.metadata.PackageNotFoundError:  # a folder on the path, never installed
        return missing_extra(wanted, "all")
    for extra in extras:
        for name in distributions(extra):
            if module_of(name).partition(".")[0] == wanted:
                return missing_extra(name, extra)
    return missing_extra(wanted, "all") if _is_light() else None


def missing_extra(what: str, extra: str) -> MissingExtra:
    way_out = f"pip install '{PACKAGE}[{extra}]'"
    if _is_light():
        way_out += ", of the whole package: this is the light one, for those who only ask"
    return MissingExtra(f"not installed: {what}; {way_out}", extra=extra, missing=what)


def _is_light() -> bool:
    try:
        return importlib.metadata.version(PACKAGE).endswith(LIGHT)
    except importlib.metadata.PackageNotFoundError:
        return False


def _offered() -> list[str]:
    return importlib.metadata.metadata(PACKAGE).get_all("Provides-Extra") or []


def distributions(extra: str) -> Iterator[str]:
    """Names of what the extra brings on this platform and cannot be done without."""
    try:
        lines = importlib.metadata.requires(PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        return
    for line in lines:
        wanted = Requirement(line)
        if wanted.marker is None or not wanted.marker.evaluate({"extra": extra}):
            continue
        if wanted.name == PACKAGE:
            for inner in wanted.extras:
                yield from distributions(inner)
        elif wanted.name not in _USEFUL:
            yield wanted.name


def module_of(distribution: str) -> str:
    return _MODULES.get(distribution, distribution.replace("-", "_"))


def _is_installed(distribution: str) -> bool:
    try:
        return importlib.util.find_spec(module_of(distribution)) is not None
    except ModuleNotFoundError:  # a parent of it
        return False
