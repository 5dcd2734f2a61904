"""A disk of the broker's own, small enough to be filled. Linux, as root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SIZE = "192m"


def missing() -> str:
    """Why there can be none here; '' where there can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a small disk is mounted by root on Linux only"
    with tempfile.TemporaryDirectory() as folder:
        disk = SmallDisk(Path(folder))
        try:
            disk.mount()
        except subprocess.CalledProcessError as exc:
            return f"mounting is not allowed here: {exc.stderr.decode().strip()}"
        disk.unmount()
    return ""


class SmallDisk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.folder)],
            check=True, capture_output=True,
        )  # fmt: skip

    def fill(self) -> None:
        """Not a byte is left."""
        with (self.folder / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        (self.folder / "filler").unlink(missing_ok=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], capture_output=True, check=False)
