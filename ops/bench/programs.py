"""Programs of the system that benches compare with: asked for before the work begins."""

from __future__ import annotations

import shutil


def need(*names: str) -> None:
    """Ends with what to do when one of them is not there."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise SystemExit(
            f"{' and '.join(missing)} must be on PATH; ./ops/system-packages installs what the "
            "benches and tests compare with"
        )
