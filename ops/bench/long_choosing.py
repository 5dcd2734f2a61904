"""Long texts by which rules for long documents are chosen; nothing of the bench's own is in them.

Two kinds from a seed: records of offices, some of which have a planted fact's field or its name's
half, and prose of the same. Fields of eight forms, asked and written in several ways.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from bench.long_text import Planted

_WORDS = [
    "heron", "walnut", "copper", "saffron", "granite", "willow", "cobalt", "thistle", "marble",
    "falcon", "bramble", "crimson", "pewter", "larch", "otter", "sorrel", "flint", "maple",
    "ivory", "badger",
]  # fmt: skip
_NAMES = [
    "Lindqvist", "Okonkwo", "Marchetti", "Dvorak", "Yamada", "Petersen", "Almeida", "Novak",
    "Haddad", "Kowalski", "Brennan", "Castellan", "Ferreira", "Gruber", "Ishikawa", "Jansen",
]  # fmt: skip
_FIELDS: dict[str, Callable[[Random], str]] = {
    "berth number": lambda rng: f"{rng.choice('ABCDEF')}{rng.randint(100, 999)}",
    "licence expiry": lambda rng: f"{rng.randint(1, 28)}.{rng.randint(1, 12)}.{_year(rng)}",
    "membership tier": lambda rng: f"{rng.choice(['gold', 'silver', 'bronze'])} {_small(rng)}",
    "access badge": lambda rng: f"{_small(rng)}-{rng.randint(1000, 9999)}",
    "deposit account": lambda rng: f"{rng.randint(100000, 999999)}",
    "contract term": lambda rng: f"{_small(rng)} months",
    "ticket reference": lambda rng: f"{rng.choice('KLMN')}{rng.choice('PQRS')}-{_large(rng)}",
    "locker": lambda rng: f"{rng.randint(100, 999)}{rng.choice('abcdef')}",
}
_OTHERS = ["opening hours", "telephone", "coordinator", "budget line", "room", "capacity"]
_FORMS = ["{f} of {n}: {v}", "The {f} of {n} is {v}.", "{n} - {f}: {v}", "{f} of {n} = {v}"]
_QUESTIONS = ["What is the {f} of {n}?", "{f} of {n}?", "Find the {f} of {n}."]
_DONE = ["moved", "painted", "sold", "counted", "visited"]


def _small(rng: Random) -> int:
    return rng.randint(10, 99)


def _large(rng: Random) -> int:
    return rng.randint(1000, 99999)


def _year(rng: Random) -> int:
    return rng.randint(2024, 2039)


def _names(seed: str) -> list[str]:
    # Of each pair one order: the other would be another's name of the same words.
    names = [f"{first} {last}" for first in _NAMES for last in _NAMES if first < last]
    Random(f"names {seed}").shuffle(names)
    return names


def facts(number: int, seed: str) -> list[Planted]:
    """So many, each about another name."""
    rng = Random(f"choosing {seed}")
    made = []
    for at, name in enumerate(_names(seed)[:number]):
        field = list(_FIELDS)[at % len(_FIELDS)]
        value = _FIELDS[field](rng)
        line = rng.choice(_FORMS).format(f=field, n=name, v=value)
        question = rng.choice(_QUESTIONS).format(f=field, n=name)
        made.append(Planted(question, value, line + "\n"))
    return made


def long_text(num_bytes: int, planted: list[Planted], seed: str) -> str:
    """ASCII of about so many bytes, the facts at equal distances; half records, half prose."""
    rng = Random(f"choosing text {seed}")
    spare = _names(seed)[len(planted) :]
    places = [round(at * num_bytes / max(1, len(planted) - 1)) for at in range(len(planted))]
    left = list(zip(places, planted, strict=True))
    parts: list[str] = []
    size = 0
    while size < num_bytes or left:
        prose = size > num_bytes / 2
        while left and (size >= left[0][0] or size >= num_bytes):
            line = left.pop(0)[1].line
            parts.append(line.replace("\n", ". ").replace(".. ", ". ") if prose else line)
        if size >= num_bytes:
            break
        parts.append((_sentence if prose else _record)(rng, spare))
        size += len(parts[-1])
    return "".join(parts)


def _record(rng: Random, spare: list[str]) -> str:
    pick = rng.random()
    if pick < 0.03:
        return f"\n## Office {rng.choice(_WORDS)} {_small(rng)}\n\n"
    if pick < 0.1:
        field = rng.choice(list(_FIELDS))
        return f"{field} of {rng.choice(spare)}: {_FIELDS[field](rng)}\n"
    what = f"{rng.choice(_OTHERS)} of {rng.choice(_WORDS)} {rng.choice(_WORDS)} {_small(rng)}"
    return f"{what}: {rng.choice(_WORDS)} {_large(rng)}\n"


def _sentence(rng: Random, spare: list[str]) -> str:
    pick = rng.random()
    if pick < 0.03:
        return f"\n\n## Office {rng.choice(_WORDS)} {_small(rng)}\n\n"
    if pick < 0.1:
        field = rng.choice(list(_FIELDS))
        return f"In {rng.choice(_WORDS)} they asked for the {field} of {rng.choice(spare)}. "
    return (
        f"The {rng.choice(_WORDS)} {rng.choice(_WORDS)} near {rng.choice(_WORDS)} was "
        f"{rng.choice(_DONE)} by {rng.choice(_NAMES)} in {rng.randint(1950, 2023)}, and "
        f"{rng.choice(_WORDS)} remained. "
    )
