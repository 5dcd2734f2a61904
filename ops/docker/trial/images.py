"""The images: a base where none can be pulled, ours from the Dockerfile, stand-ins for the rest.

Each is labelled with a digest of what it was made from and made again only when that changes.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

from trial.podman import Podman

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
SUITE = "bookworm"
BASE = f"localhost/glyph-base:{SUITE}"
# What python.org's slim images have beside Python.
PACKAGES = ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata")
LABEL = "glyph.made-from"
STANDINS = {
    "redis": "docker.io/valkey/valkey:8.1.3-alpine3.22",
    "prometheus": "docker.io/prom/prometheus:v3.4.2",
    "grafana": "docker.io/grafana/grafana:12.0.2",
}
OURS = {"light": "glyph-worker:light", "answer": "glyph-worker:answer"}
COMPILER = "glyph-worker:compiler"


def make_all(podman: Podman) -> list[str]:
    """Makes what is missing or out of date. Returns the names of the images that were made."""
    base = _base(podman)
    made = [BASE] if base else []
    base_digest = podman.image_label(BASE, LABEL) or ""
    file = HERE / "Standins"
    for target, image in STANDINS.items():
        sources = [file, *sorted(HERE.glob(f"{target}_*.py"))]
        if _build(podman, image, file, HERE, target, _digest(sources, base_digest), []):
            made.append(image)
    dockerfile = ROOT / "ops/docker/Dockerfile"
    names = [
        "ops/docker/Dockerfile",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "ops/constraints.txt",
    ]
    shared = [ROOT / name for name in names]
    digest = _digest([*shared, *package_files()], base_digest)
    options = ["--build-arg", f"PYTHON_IMAGE={BASE}", *_torch_index(), *_pip(podman.folder)]
    for target, image in OURS.items():
        if _build(podman, image, dockerfile, ROOT, target, digest, options):
            made.append(image)
    digest = _digest([dockerfile], base_digest)
    if _build(podman, COMPILER, dockerfile, ROOT, "compiler", digest, options):
        made.append(COMPILER)
    return made


def package_files() -> list[Path]:
    """What git tracks of the package: what a wheel must hold."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "glyph_worker"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.exists()]


def _digest(files: list[Path], *more: str) -> str:
    hashed = hashlib.sha256("\0".join(more).encode())
    for file in files:
        hashed.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return hashed.hexdigest()


def _base(podman: Podman) -> bool:
    wanted = hashlib.sha256(" ".join([SUITE, *PACKAGES]).encode()).hexdigest()
    if podman.image_label(BASE, LABEL) == wanted:
        return False
    archive = podman.folder / f"base-{wanted[:12]}.tar"
    if not archive.exists():
        _say(f"base system: {SUITE} with {', '.join(PACKAGES)}")
        partial = archive.with_suffix(".partial.tar")
        options = [
            f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")
        ]
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(PACKAGES)}", *options,
             SUITE, str(partial)],
            check=True, stdout=sys.stderr,
        )  # fmt: skip
        partial.rename(archive)
    podman.run("import", "--change", f"LABEL {LABEL}={wanted}", str(archive), BASE)
    return True


def _build(
    podman: Podman, image: str, file: Path, context: Path, target: str, digest: str,
    options: list[str],
) -> bool:  # fmt: skip
    if podman.image_label(image, LABEL) == digest:
        return False
    _say(f"build {image}")
    # With layers that cost nothing the dependencies are kept from the last time.
    layers = f"--layers={str(podman.layered).lower()}"
    podman.run(
        "build", layers, "--force-rm", "--network=host", f"--file={file}",
        f"--target={target}", f"--label={LABEL}={digest}", f"--tag={image}", *options, str(context),
    )  # fmt: skip
    if not podman.layered:
        podman.run("image", "prune", "--force", check=False)
    return True


def _pip_settings() -> dict[str, str]:
    """Of pip on this machine, files and environment together: option → value."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    )
    found = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition("=")
        if name.startswith(("global.", ":env:.")):
            found[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    return found


def _pip(folder: Path) -> list[str]:
    """How pip is set up here holds in the build too; local files it speaks of are mounted there."""
    settings = _pip_settings()
    if not settings:
        return []
    file = folder / "pip.conf"
    lines = [f"{name} = {' '.join(value.split())}" for name, value in settings.items()]
    file.write_text("\n".join(["[global]", *lines, ""]))
    options = [f"--volume={file}:/etc/pip.conf:ro"]
    for word in " ".join(settings.values()).split():
        path = Path(re.sub("^file://", "", word))
        # An index of files may lead to its neighbours.
        path = path.parent if word.startswith("file://") else path
        if path.is_absolute() and path.exists():
            options.append(f"--volume={path}:{path}:ro")
    return sorted(set(options))


def _torch_index() -> list[str]:
    """$TORCH_INDEX, or the first extra index of this machine's pip, or what the Dockerfile says."""
    index = os.environ.get("TORCH_INDEX") or _pip_settings().get("extra-index-url", "")
    return ["--build-arg", f"TORCH_INDEX={index.split()[0]}"] if index.strip() else []


def _say(text: str) -> None:
    print(f"── {text}", file=sys.stderr, flush=True)
