"""A long text made from a seed: depots' records, with facts planted at shares of its length."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_WORDS = [
    "amber", "basalt", "cedar", "delta", "ember", "fjord", "garnet", "harbor", "indigo", "juniper",
    "kestrel", "lagoon", "meadow", "nickel", "onyx", "poplar", "quartz", "raven", "sable", "tundra",
]  # fmt: skip
_KINDS = ["status", "serial number", "owner", "weight", "color", "supplier", "shelf", "inspector"]
_PLACES = ["pump", "valve", "crane", "meter", "gate", "tank", "relay", "boiler", "ladder", "scale"]
_STATIONS = [
    "Zephyr", "Orion", "Halley", "Vega", "Rigel", "Altair", "Deneb", "Polaris", "Antares", "Mira",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planted:
    question: str
    answer: str
    line: str


def facts(number: int, seed: str) -> list[Planted]:
    """So many, each about another place."""
    rng = Random(f"facts {seed}")
    names = [f"{station} {word}" for station in _STATIONS for word in _WORDS]
    rng.shuffle(names)
    made = []
    for name in names[:number]:
        code = (
            f"{rng.randint(1000, 9999)}-{rng.choice('ABCDEFGHKMNPQRSTUVWXYZ')}{rng.randint(10, 99)}"
        )
        line = f"vault code of {name}: {code}\n"
        made.append(Planted(f"What is the vault code of {name}?", code, line))
    return made


def long_text(num_bytes: int, planted: list[Planted], seed: str) -> str:
    """ASCII of about so many bytes, the facts at equal distances from first line to last."""
    rng = Random(f"long {seed}")
    places = [round(at * num_bytes / max(1, len(planted) - 1)) for at in range(len(planted))]
    lines: list[str] = []
    size = 0
    left = list(zip(places, planted, strict=True))
    while size < num_bytes or left:
        while left and (size >= left[0][0] or size >= num_bytes):
            lines.append(left.pop(0)[1].line)
        if size >= num_bytes:
            break
        line = _line(rng)
        lines.append(line)
        size += len(line)
    return "".join(lines)


def _line(rng: Random) -> str:
    pick = rng.random()
    if pick < 0.02:
        return f"\n# Depot {rng.choice(_WORDS)} {rng.randint(1, 999)}\n\n"
    thing = f"{rng.choice(_WORDS)} {rng.choice(_PLACES)} {rng.randint(10, 999)}"
    if pick < 0.75:
        value = f"{rng.choice(_WORDS)} {rng.randint(1000, 99999)}"
        return f"{rng.choice(_KINDS)} of {thing}: {value}\n"
    return (
        f"The {thing} was looked at by {rng.choice(_WORDS)} {rng.choice(_WORDS)} on "
        f"{rng.randint(1, 28)}.{rng.randint(1, 12)}.{rng.randint(1990, 2026)} and left as it was.\n"
    )
