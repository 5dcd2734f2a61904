"""Tables: rows and columns, in many looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from train.document_draft import Draft
from train.names import spell, unique_names
from train.words import Words

CELLS = (
    "number", "money", "date", "code", "pseudo", "person", "port", "count", "address", "place",
    "flag",
)  # fmt: skip
NAMES = ("{name} of {row}", "{name} of {row}", "{row} {name}", "{name} for {row}", "{name}")
ASKS = (
    "What is {row}'s {name}?", "What {name} does {row} have?", "Which {name} does {row} have?",
    "What is the {name} in the row {row}?",
)  # fmt: skip
LOOKS = ("pipes", "spaces", "spaces", "spaces", "markdown", "csv", "grid")


def table(draft: Draft, words: Words, count: int) -> None:
    """Rows and columns, with pipes, rulers, commas or only spaces."""
    rng = words.rng
    look = rng.choice(LOOKS if words.test else (*LOOKS, "csv", "csv"))  # commas are hard
    draft.layout = "table with commas" if look == "csv" else "table"
    columns = unique_names(words, rng.randint(2, 4))
    columns = [column[-1:] if rng.random() < 0.6 else column[-2:] for column in columns]
    makers = [rng.choice(CELLS) for _ in columns]
    style = rng.choice(["plain", "title", "sentence", "shout", "snake"])
    first = rng.randrange(4)
    stem = words.pseudo(1, 1) if rng.random() < 0.5 else words.noun()
    firsts: tuple[Callable[[], str], ...] = (
        words.pseudo,
        words.person,
        words.noun,
        lambda: f"{stem}-{rng.randint(1, 99)}",
    )
    rows = list(dict.fromkeys(firsts[first]() for _ in range(max(1, count - 2))))
    header = [spell([words.noun()], style), *(spell(column, style) for column in columns)]
    body = []
    for row in rows:
        made = [
            words.value(column) if rng.random() < 0.3 else (maker, words.of(maker))
            for column, maker in zip(columns, makers, strict=True)
        ]
        body.append([("", row), *((kind, text.replace(",", "")) for kind, text in made)])
    widths = [max(len(header[i]), *(len(line[i][1]) for line in body)) for i in range(len(header))]
    # One space would part columns as it does words.
    between, edge = {
        "pipes": (" | ", ""), "markdown": (" | ", "| "), "csv": (",", ""), "grid": (" | ", "| ")
    }.get(look, (" " * rng.randint(2, 4), ""))  # fmt: skip
    while sum(widths) + len(between) * (len(widths) - 1) + 2 * len(edge) > 64 and len(widths) > 2:
        widths.pop()  # the column that does not fit is left out
    header, body = header[: len(widths)], [line[: len(widths)] for line in body]
    right = [rng.random() < 0.3 for _ in widths]

    def cell(text: str, index: int) -> str:
        if look == "csv":
            return text
        return text.rjust(widths[index]) if right[index] and index else text.ljust(widths[index])

    def line(texts: Sequence[str]) -> tuple[str, list[int]]:
        """(The line, the column at which each text begins)."""
        shown, starts = edge, []
        for index, text in enumerate(texts):
            filled = cell(text, index)
            starts.append(len(shown) + filled.index(text))
            shown += filled + between
        return shown[: len(shown) - len(between)] + edge[::-1], starts

    ruler = "-" * min(64, sum(widths) + len(between) * (len(widths) - 1) + 2 * len(edge))
    if look == "grid":
        draft.add(ruler)
    top, titles = line(header)
    number = draft.add(top)
    if look == "markdown":
        draft.add("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    elif look == "grid" or (look != "csv" and rng.random() < 0.5):
        draft.add(ruler)
    for values in body:
        row = values[0][1]
        text, starts = line([value for _, value in values])
        for index, (kind, value) in enumerate(values[1:], 1):
            name = " ".join(columns[index - 1])
            draft.note(
                len(draft.lines),
                starts[index],
                value,
                kind=kind,
                names=tuple(named.format(name=name, row=row) for named in NAMES),
                asks=tuple(asked.format(name=name, row=row) for asked in ASKS),
                title=header[index],
                above=(number, titles[index]),
            )
        draft.add(text)
