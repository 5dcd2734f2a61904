"""Field names: how documents spell and shorten them, and how people call them."""
# ruff: noqa: E501, SIM905  (tables read better on long lines)

from __future__ import annotations

from train.words import Words

SHORT = {
    "number": ["No.", "no", "Nr", "num", "#", "No"], "amount": ["amt", "Amt."], "address": ["addr"],
    "maximum": ["max", "max."], "minimum": ["min"], "directory": ["dir"], "password": ["pwd", "pass"],
    "temperature": ["temp", "temp."], "quantity": ["qty", "Qty."], "reference": ["ref", "Ref."],
    "department": ["dept", "Dept."], "account": ["acct", "Acct."], "database": ["db", "DB"],
    "message": ["msg"], "average": ["avg"], "phone": ["tel", "Tel.", "telephone"], "id": ["ID", "Id"],
    "temporary": ["tmp"], "address ": ["addr."], "language": ["lang"], "environment": ["env"],
    "reason": ["rsn"], "description": ["desc"], "identifier": ["id"], "source": ["src"],
    "destination": ["dest", "dst"], "percent": ["%"], "configuration": ["config"], "year": ["yr"],
}  # fmt: skip
# The share of names that have a word of a neighbour's, so that half a match is wrong.
EXAM, LESSON = 0.35, 0.5
BEFORE = "sub over under out up re pre post super inter user host non un max re".split()


def spell(words: list[str], style: str) -> str:
    """A field's name as documents write it."""
    if style == "snake":
        return "_".join(words)
    if style == "kebab":
        return "-".join(words)
    if style == "dot":
        return ".".join(words)
    if style == "upper":
        return "_".join(words).upper()
    if style == "camel":
        return words[0] + "".join(word.capitalize() for word in words[1:])
    if style == "title":
        return " ".join(word.capitalize() for word in words)
    if style == "sentence":
        return " ".join(words).capitalize()
    if style == "shout":
        return " ".join(words).upper()
    return " ".join(words)


def unique_names(words: Words, count: int) -> list[list[str]]:
    """Distinct field names; neighbours sometimes share a word."""
    rng = words.rng
    names: list[list[str]] = []
    seen: set[str] = set()
    while len(names) < count:
        name = words.name_words()
        if names and rng.random() < (EXAM if words.test else LESSON):
            other = rng.choice(names)
            if rng.random() < 0.15:
                name = [*other[:-1], rng.choice(BEFORE) + other[-1]]
            elif len(other) > 1:
                first = rng.random() < 0.6
                name = [*other[:-1], words.noun()] if first else [words.noun(), *other[1:]]
            else:
                name = [words.noun(), *other] if rng.random() < 0.5 else [*other, words.noun()]
        key = "".join(name)
        if key not in seen:
            seen.add(key)
            names.append(name)
    return names


def known_as(name: list[str], spelled: str) -> tuple[str, ...]:
    """The names a person may use for a field: its words, and the way it is spelled."""
    plain = " ".join(name)
    return (plain,) if spelled == plain else (plain, spelled)


def shorten(words: Words, name: list[str]) -> list[str]:
    """Sometimes the document says `No.` where people say `number`."""
    if words.rng.random() < 0.3:
        return [words.rng.choice(SHORT[word]) if word in SHORT else word for word in name]
    return name
