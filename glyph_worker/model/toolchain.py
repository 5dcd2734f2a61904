"""Can this machine build and load what Triton and torch.compile launch their kernels with?

Both compile a small C extension of Python on first use and load it from their cache folder. Without
a compiler, without Python's headers, or with a cache on a filesystem mounted `noexec` every kernel
fails, each with its own message; this asks for the cause.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

_SOURCE = "#include <Python.h>\nint glyph_toolchain(void) { return PY_MAJOR_VERSION; }\n"
_TIMEOUT_S = 60


def compiler() -> str | None:
    """The C compiler that Triton would take: $CC, else gcc, clang or cc on PATH."""
    named = os.environ.get("CC")
    return shutil.which(named) if named else _first_of("gcc", "clang", "cc")


def kernel_cache() -> Path:
    """Where Triton keeps what it built."""
    named = os.environ.get("TRITON_CACHE_DIR")
    return Path(named) if named else Path.home() / ".triton"


def toolchain_fault(cache: Path | None = None) -> str | None:
    """Why nothing can be built or loaded in `cache` (Triton's own by default); None: all is well.

    Compiles and loads a real extension: about a tenth of a second.
    """
    cache = cache or kernel_cache()
    cc = compiler()
    if cc is None:
        return "no C compiler; install gcc, or name one in CC"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            return _try(cc, Path(folder), cache)
    except OSError as exc:
        return f"{cache} cannot be written ({exc.strerror}); set TRITON_CACHE_DIR to a folder"


def _try(cc: str, folder: Path, cache: Path) -> str | None:
    source, library = folder / "probe.c", folder / "probe.so"
    source.write_text(_SOURCE)
    headers = sysconfig.get_paths()["include"]
    command = [cc, "-shared", "-fPIC", f"-I{headers}", str(source), "-o", str(library)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"{cc} did not end within {_TIMEOUT_S} s"
    if done.returncode != 0:
        if "Python.h" in done.stderr:
            return f"Python's headers are not in {headers}; install python3-dev"
        return f"{cc} fails: {' '.join(done.stderr.split())[:200]}"
    try:
        ctypes.CDLL(str(library))
    except OSError as exc:
        return (
            f"nothing built in {cache} can be loaded ({exc}); mount it with `exec`, or set "
            "TRITON_CACHE_DIR and TORCHINDUCTOR_CACHE_DIR to a folder that is"
        )
    return None


def _first_of(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)
