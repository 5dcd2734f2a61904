"""Every setting, for people: its variable, its value, its meaning."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from glyph_worker.settings import PREFIX, Settings, set_by


def describe_settings(settings: Settings) -> list[dict[str, str]]:
    """Every setting: its variable, its value (secrets hidden), its meaning."""
    return list(_described(settings, PREFIX))


def _described(section: BaseModel, prefix: str) -> Iterator[dict[str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _described(value, f"{prefix}{name.upper()}_")
        elif set_by(field) == "user":
            meaning = " ".join((field.description or "").split())
            yield {"variable": f"{prefix}{name.upper()}", "value": str(value), "meaning": meaning}
