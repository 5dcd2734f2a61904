"""The version before, out of this repository: its workers and its producers, for an upgrade."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environ_before(code: Path) -> dict[str, str]:
    """What its processes have of their own: their code, and the usual time to live. That version
    counts it from a document's last use, and loses what waits longer."""
    return {"PYTHONPATH": str(code), "GLYPH_QUEUE_JOB_TTL_S": "86400"}


_SUBMIT = """
import json, sys
from glyph_worker.client import Client
said = json.loads(sys.stdin.read())
client = Client.from_env(tenant=said["tenant"])
print(json.dumps([
    client.submit(text, question, max_new_tokens=tokens, ttl_s=said["ttl_s"]).id
    for text, question, tokens in said["jobs"]
]))
"""


def unpacked(ref: str, folder: Path) -> Path:
    """The tree of a commit, in a folder. Raises CalledProcessError where git knows none."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "before.tar"
    with archive.open("wb") as file:
        subprocess.run(
            ["git", "-C", str(ROOT), "archive", "--format=tar", ref, "glyph_worker"],
            check=True, stdout=file,
        )  # fmt: skip
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:  # Python before 3.11.4; the archive is git's own
            tar.extractall(folder)
    archive.unlink()
    return folder


def submit(
    code: Path, environ: dict[str, str], jobs: list[tuple[str, str, int]], *, tenant: str
) -> list[str]:
    """Ids of jobs submitted by a producer of that version: text, question, tokens of each."""
    said = {"tenant": tenant, "jobs": jobs, "ttl_s": 3_600}
    done = subprocess.run(
        [sys.executable, "-c", _SUBMIT], input=json.dumps(said), capture_output=True, text=True,
        env={**os.environ, **environ, **environ_before(code)}, check=True, cwd=code,
    )  # fmt: skip
    return list(json.loads(done.stdout))
