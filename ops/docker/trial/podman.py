"""Podman with a store and settings of its own, beside whatever else this machine runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEEDED = ("podman", "runc", "mmdebstrap")

_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
_REGISTRIES = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n'


def missing() -> str | None:
    """Why no container can be run here; None when one can."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"not on PATH: {', '.join(absent)} (Debian packages of the same names)"
    if os.geteuid() != 0:
        return "needs root: container networks and a base system are made"
    return None


def end_in_order() -> None:
    """From now on a SIGTERM ends the program in order; another one does not cut that short."""

    def end(number: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def _overlay_works(folder: Path) -> bool:
    """Some kernels and filesystems mount no overlay: then layers must be copied."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        parts = {part: Path(name) / part for part in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            part.mkdir()
        options = ",".join(f"{part}dir={parts[part]}" for part in ("lower", "upper", "work"))
        merged = str(parts["merged"])
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, merged]
        if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
            return False
        subprocess.run(["umount", merged], check=True)
        return True


class Podman:
    """Commands against the store under `folder`. A failed one raises with what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "containers.conf").write_text(_CONTAINERS)
        (folder / "registries.conf").write_text(_REGISTRIES)
        self.layered = _overlay_works(folder)
        """False: every layer is a whole copy."""
        driver = "overlay" if self.layered else "vfs"
        # Its path may have fifty characters; two stores must not share one.
        run_root = f"{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}-{driver}"
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{folder}/storage-{driver}"\n'
            f'runroot = "/run/glyph-containers-{run_root}"\n'
        )
        self.environ = os.environ | {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        }

    def run(self, *command: str, check: bool = True, timeout_s: float = 1_200) -> str:
        """Standard output of `podman …`."""
        done = self.attempt(*command, timeout_s=timeout_s)
        if check and done.returncode != 0:
            raise RuntimeError(
                f"podman {' '.join(command)[:200]}: exit {done.returncode}\n"
                f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return done.stdout

    def attempt(self, *command: str, timeout_s: float = 1_200) -> subprocess.CompletedProcess[str]:
        """The same, whatever comes of it."""
        return subprocess.run(
            ["podman", *command],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def inspect(self, name: str) -> dict[str, Any]:
        (found,) = json.loads(self.run("inspect", name))
        return dict(found)

    def image_label(self, image: str, label: str) -> str | None:
        """None without such an image or label."""
        done = self.attempt("image", "inspect", "--format", "{{json .Labels}}", image)
        labels = json.loads(done.stdout) if done.returncode == 0 else None
        return None if labels is None else labels.get(label)

    def image_bytes(self, image: str) -> int:
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image))

    def compose(self, *command: str, files: Sequence[Path], env_file: Path, project: str) -> str:
        """Output of podman-compose."""
        done = subprocess.run(
            [
                sys.executable, "-m", "podman_compose", "--in-pod", "false", "-p", project,
                "--env-file", str(env_file), *(f"--file={file}" for file in files), *command,
            ],
            env=self.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(
                f"compose {' '.join(command)}:\n{done.stdout}\n{done.stderr[-4000:]}"
            )
        return done.stdout
