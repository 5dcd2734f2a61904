"""Lists of records as programs write them: stanzas of repeated keys, files with commas, package and
access logs. One function a look; lessons only."""
# ruff: noqa: SIM905, E501  (tables read better on long lines)

from __future__ import annotations

import csv
import io

from train.document_draft import Draft
from train.names import spell, unique_names
from train.sample import NOT_FOUND
from train.tables import ASKS, NAMES
from train.words import Words

CELLS = """number money date code pseudo person port count address place flag company email telephone
street version phrase listed remark clock span""".split()  # fmt: skip
OPENINGS = "package name id host item file module section user title part source".split()
REVERSE = (
    "Which {first} has the {name} {value}?", "Whose {name} is {value}?",
    "Which row has {value}?", "Which {first} has {value}?",
)  # fmt: skip


def quoted_row(cells: list[str], separator: str, quoting: int) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=quoting, lineterminator="").writerow(cells)  # type: ignore[arg-type]
    return out.getvalue()


def starts_of(cells: list[str], separator: str, quoting: int) -> list[int]:
    """The column at which each cell's own text begins in `quoted_row`."""
    starts, here = [], 0
    for cell in cells:
        whole = quoted_row([cell, ""], separator, quoting)
        written = whole[: whole.rindex(separator)]
        starts.append(here + written.startswith('"'))
        here += len(written) + 1
    return starts


def separated(draft: Draft, words: Words, count: int) -> None:
    """Comma-separated values as a spreadsheet saves them: quoted where needed, some cells empty."""
    rng = words.rng
    draft.layout = "table with commas"
    separator = rng.choice(",,,,;|")
    quoting = rng.choice([csv.QUOTE_MINIMAL] * 3 + [csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    columns = unique_names(words, rng.randint(2, 6))
    columns = [column[-1:] if rng.random() < 0.6 else column[-2:] for column in columns]
    kinds = [rng.choice(CELLS) for _ in columns]
    style = rng.choice(["plain", "title", "sentence", "shout", "snake", "snake", "camel"])
    make = rng.choice([words.pseudo, words.person, words.surname_first, words.code, words.noun])
    rows = list(dict.fromkeys(make() for _ in range(max(1, count - 1))))
    first = rng.choice(OPENINGS)
    empty = rng.choice([0.0, 0.1, 0.25])
    body = []
    for row in rows:
        suited = [
            words.value(column) if rng.random() < 0.5 else (kind, words.of(kind))
            for column, kind in zip(columns, kinds, strict=True)
        ]
        body.append([("", row), *(("", "") if rng.random() < empty else one for one in suited)])
    names = [[first], *columns]
    room = 64 if rng.random() < 0.8 else 110
    while len(names) > 2 and any(
        len(quoted_row([text for _, text in line[: len(names)]], separator, quoting)) > room
        for line in body
    ):
        names.pop()
    header = [spell(name, style) for name in names]
    top = draft.add(quoted_row(header, separator, quoting))
    titles = starts_of(header, separator, quoting)
    everything = [text for line in body for _, text in line]
    for line in body:
        cells = [text for _, text in line[: len(names)]]
        starts = starts_of(cells, separator, quoting)
        number, row = len(draft.lines), cells[0]
        for index in range(1, len(cells)):
            kind, value = line[index]
            name = " ".join(names[index])
            called = tuple(named.format(name=name, row=row) for named in NAMES[:-1])
            asks = tuple(asked.format(name=name, row=row) for asked in ASKS)
            above = {"title": header[index], "above": (top, titles[index])}
            if not value:
                draft.note(number, 0, NOT_FOUND, names=called, asks=asks)
                continue
            if '"' in value:
                continue
            draft.note(number, starts[index], value, kind=kind, names=called, asks=asks, **above)  # type: ignore[arg-type]
            if everything.count(value) == 1 and rng.random() < 0.4:
                back = tuple(r.format(first=first, name=name, value=value) for r in REVERSE)
                draft.note(number, starts[0], row, asks=back)
        draft.add(quoted_row(cells, separator, quoting))


def stanzas(draft: Draft, words: Words, count: int) -> None:
    """Records that all have the same keys, told apart by their first value."""
    rng = words.rng
    draft.layout = "sections"
    style = rng.choice(["title", "kebab", "camel", "snake", "plain", "header", "shout"])
    between = rng.choice([": ", ": ", ": ", " = ", "=", "\t", "  ", " "])
    opening = rng.choice(["", "", "", "dash", "double", "word", "brace"])
    pad = rng.random() < 0.2
    keys = unique_names(words, rng.randint(2, 5))
    first = rng.choice(OPENINGS)
    spelled = {key: _key([*key.split("/")], style) for key in [first, *map("/".join, keys)]}
    width = max(map(len, spelled.values())) + 1
    made = [words.pseudo, words.pseudo, words.host, words.code, words.person, words.noun]
    title_of = rng.choice(made)
    for _ in range(max(2, min(6, count // (len(keys)) + 1))):
        title = title_of()
        if title in draft.used:
            continue
        draft.used.add(title)
        draft.layout = "sections"
        lead, indent = "", rng.choice(["", ""]) if opening != "word" else "    "
        if opening == "dash":
            lead, indent = "- ", "  "
        elif opening == "double":
            draft.add(f"[[{first}]]")
        elif opening == "brace":
            draft.add("{")
            indent = "  "
        quote = '"' if opening in ("double", "brace") and rng.random() < 0.7 else ""

        def line(key: str, value: str, lead: str = indent) -> tuple[str, str]:
            left = spelled[key].ljust(width) if pad else spelled[key]
            return lead + left + between + quote, quote  # noqa: B023

        before, after = line(first, title, lead or indent)
        above = (draft.add(before + title + after), len(before))
        chosen = rng.sample(keys, rng.randint(max(1, len(keys) - 1), len(keys)))
        for key in sorted(chosen, key=keys.index):
            kind, value = words.value(key)
            if rng.random() < 0.35:
                kind, value = (
                    "other",
                    words.of(rng.choice(["listed", "remark", "version", "contact"])),
                )
            plain = " ".join(key)
            as_written = spelled["/".join(key)]
            before, after = line("/".join(key), value)
            names = (
                f"{plain} of {title}", f"{plain} of {title}", f"{title} {plain}", f"{plain} for {title}",
                f"{as_written} of {title}", f"{plain} of the {first} {title}", plain,
            )  # fmt: skip
            asks = (f"What {plain} does {title} have?", f"What is {title}'s {plain}?",
                    f"Which {plain} is given for {title}?")  # fmt: skip
            if quote and '"' in value:
                continue
            draft.add_fact(
                before, value, after, kind=kind, names=tuple(dict.fromkeys(names)), asks=asks,
                title=title, above=above,
            )  # fmt: skip
        if rng.random() < 0.15:
            draft.add(indent + " " + words.sentence()[:58])
        if opening == "brace":
            draft.add("},")
        elif rng.random() < 0.8:
            draft.add()


def _key(words: list[str], style: str) -> str:
    return "-".join(w.capitalize() for w in words) if style == "header" else spell(words, style)


def package_log(draft: Draft, words: Words, count: int) -> None:
    """What was installed, upgraded, started or asked for, and when."""
    rng = words.rng
    draft.layout = "log"
    shape = rng.randrange(5)
    for _ in range(count):
        day, clock, name = words.log_day(), words.clock(), words.package()
        if name in draft.used:
            continue
        draft.used.add(name)
        version, other, arch = (
            words.version(),
            words.version(),
            rng.choice(["amd64", "all", "arm64"]),
        )
        verb = rng.choice(["install", "upgrade", "remove", "configure", "status installed"])
        when = (f"When was {name} logged?", f"At what time does {name} stand in the log?",
                f"What time was {name} written?")  # fmt: skip
        which = (f"What version of {name}?", f"Which version of {name} is it?", f"What is the version of {name}?",
                 f"version of {name}", f"Which version does {name} have?")  # fmt: skip
        number = len(draft.lines)
        if shape == 0:
            head = f"{day} {clock} {verb} {name}:{arch} "
            draft.note(number, len(head), version, asks=which)
            draft.note(
                number,
                head.index(verb),
                verb,
                asks=(f"What was done with {name}?", f"What happened to {name}?"),
            )
            text = head + version + rng.choice(["", " <none>", " " + other])
        elif shape == 1:
            head = f"{clock} {name} ("
            draft.note(
                number,
                len(head),
                version,
                asks=(
                    f"From which version was {name} upgraded?",
                    f"What was the old version of {name}?",
                ),
            )
            text = head + version + rng.choice([" -> ", ", "])
            draft.note(
                number,
                len(text),
                other,
                asks=(
                    f"To which version was {name} upgraded?",
                    f"What is the new version of {name}?",
                ),
            )
            text += other + ")"
        elif shape == 2:
            host, size = words.address(), str(rng.randint(100, 99999))
            path, code = f"/{name}", rng.choice(["200", "301", "404", "500", "403"])
            method = rng.choice(["GET", "POST", "PUT"])
            head = f'{host} - - [{day}:{clock}] "{method} {path}" '
            draft.note(
                number,
                0,
                host,
                kind="address",
                asks=(f"Which address asked for {path}?", f"Who requested {path}?"),
            )
            draft.note(
                number,
                len(head),
                code,
                asks=(f"What status did {path} get?", f"With which status was {path} answered?"),
            )
            text = head + f"{code} {size}"
            draft.note(
                number,
                len(head) + len(code) + 1,
                size,
                asks=(f"How many bytes were sent for {path}?", f"What is the size of {path}?"),
            )
        elif shape == 3:
            host, said = words.pseudo(), words.remark()
            head = f"{day} {clock} {host} {name}[{rng.randint(2, 9999)}]: "
            draft.note(
                number,
                len(head),
                said,
                asks=(
                    f"What did {name} say?",
                    f"What did {name} log?",
                    f"What is the message of {name}?",
                ),
            )
            draft.note(
                number,
                len(f"{day} {clock} "),
                host,
                asks=(f"On which host did {name} run?", f"Which machine wrote the line of {name}?"),
            )
            text = head + said
        else:
            took = f"{rng.uniform(0.01, 90):.2f}s"
            result = rng.choice(["PASSED", "FAILED", "ok", "SKIPPED", "error", "warning", "done"])
            head = f"{clock} {name} {rng.choice(['', '... ', '.... '])}"
            draft.note(
                number,
                len(head),
                result,
                asks=(
                    f"What was the result of {name}?",
                    f"How did {name} end?",
                    f"Did {name} pass?",
                ),
            )
            text = head + f"{result} ({took})"
            draft.note(
                number,
                len(head) + len(result) + 2,
                took,
                asks=(f"How long did {name} take?", f"What time did {name} need?"),
            )
        if clock in text and rng.random() < 0.7:
            draft.note(number, text.index(clock), clock, kind="clock", asks=when)
        draft.add(text)
