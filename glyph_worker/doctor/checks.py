"""All checks in order; a fault of one spoils no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from glyph_worker.doctor import machine, servers
from glyph_worker.doctor.backend import backend
from glyph_worker.doctor.finding import Finding
from glyph_worker.errors import GlyphError
from glyph_worker.settings import Settings


def examine() -> list[Finding]:
    """All findings, in the order in which one would mend them. Raises nothing of its own."""
    findings = [machine.python(), *machine.packages()]
    try:
        settings = Settings.load()
    except GlyphError as exc:
        return [*findings, Finding(what="settings", level="fault", found=str(exc), fix="see above")]
    findings.append(Finding(what="settings", level="ok", found="every GLYPH_* name is known"))
    checks = (
        servers.redis, servers.workers, servers.gateway, servers.flower, servers.traces,
        servers.overload, machine.device, machine.compiler, backend, machine.style,
    )  # fmt: skip
    for check in checks:
        findings += guarded(check, settings)
    return findings


def guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    name = check.__name__
    findings = []
    try:
        for finding in check(settings):
            findings.append(finding)  # what was found before a fault stays found
    except GlyphError as exc:
        message, _, fix = str(exc).rpartition("; ")
        found, fix = (message, fix) if message else (fix, "")
        findings.append(Finding(what=name, level="fault", found=found, fix=fix))
    except ImportError as exc:
        fix = "pip install 'glyph_worker[all]'"
        findings.append(Finding(what=name, level="note", found=f"not examined: {exc}", fix=fix))
    return findings
