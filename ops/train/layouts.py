"""How facts stand in documents: fields, blocks, logs, items, prose. One function a look."""
# ruff: noqa: SIM905, E501  (tables read better on long lines)

from __future__ import annotations

from train import clauses, code, contents, letters, listings, mixing, tables
from train.document_draft import Draft
from train.names import known_as, shorten, spell, unique_names
from train.words import Words

RULERS = ("=", "-", "*", "#", "_", "~", ". ", "-=")


NOTATIONS = """colon colon colon colon tight equals equals bare is dash spaced tab arrow aligned aligned
dots json json quoted xml env option semicolon below pair pair bullet right numbered""".split()
BETWEEN = {
    "colon": ": ", "tight": ":", "equals": " = ", "bare": "=", "is": " is ", "dash": " - ",
    "spaced": " : ", "arrow": " -> ",
}  # fmt: skip
MACHINE = {"bare", "json", "quoted", "xml", "env", "option", "semicolon"}


def fields(draft: Draft, words: Words, count: int) -> None:
    """A block of fields, `key: value` in one of many notations."""
    rng = words.rng
    draft.layout = "fields"
    notation = rng.choice(NOTATIONS)
    machine = notation in MACHINE or rng.random() < 0.3
    styles = ["snake", "snake", "kebab", "dot", "camel", "plain"]
    if not machine:
        styles = ["title", "title", "sentence", "plain", "shout"]
    style = "upper" if notation == "env" else rng.choice(styles)
    indent = " " * rng.choice([0, 0, 0, 0, 2, 4])
    mark = rng.choice([":", ":", ""])
    names = unique_names(words, count)
    spelled = [spell(shorten(words, name), style) for name in names]
    width = max(len(name) for name in spelled) + rng.randint(1, 4)
    left = ""
    for index, (name, key) in enumerate(zip(names, spelled, strict=True)):
        kind, value = words.value(name)
        before, after = indent + key + BETWEEN.get(notation, ": "), ""
        if notation == "aligned":
            before = indent + (key + mark).ljust(width + 1)
        elif notation == "dots":
            before = indent + key + " " + "." * (width + 2 - len(key)) + " "
        elif notation in ("json", "quoted"):
            number = value.replace(".", "", 1).isdigit() or value in ("true", "false", "null")
            quote = "" if number and notation == "json" else '"'
            before = (
                f'{indent}"{key}": {quote}' if notation == "json" else f"{indent}{key} = {quote}"
            )
            after = quote + ("," if notation == "json" and index < count - 1 else "")
        elif notation == "xml":
            tag = key.replace(" ", "")
            before, after = f"{indent}<{tag}>", f"</{tag}>"
        elif notation == "env":
            before = rng.choice([f"{key}=", f"export {key}="])
        elif notation == "option":
            before = f"{indent}--{spell(name, 'kebab')} "
        elif notation == "semicolon":
            before, after = f"{indent}{key} ", ";"
        elif notation == "tab":
            before = indent + key + " " * (4 - len(indent + key) % 4)
        elif notation == "bullet":
            before = f"{indent}{rng.choice('-*')} {key}: "
        elif notation == "numbered":
            before = f"{indent}{index + 1}. {key}: "
        elif notation == "right":
            before = (indent + key + rng.choice(["", ":"])).ljust(max(width + 2, 62 - len(value)))
        elif notation == "below":
            draft.add(indent + key + mark)
            before = indent + " " * rng.choice([0, 2])
        elif notation == "pair" and len(indent + key + value) < 28:
            if index % 2 == 0 and index < count - 1:
                left = (f"{indent}{key}: {value}").ljust(rng.choice([32, 34, 30]))
                draft.note(
                    len(draft.lines),
                    len(indent + key) + 2,
                    value,
                    kind=kind,
                    names=known_as(name, key),
                )
                continue
            before, left = left + key + ": ", ""
        elif left:
            draft.add(left)
            left = ""
        if notation in ("bare", "equals") and rng.random() < 0.1:
            after = "  # " + words.phrase()
        elif notation in ("colon", "is") and rng.random() < 0.07:
            after = rng.choice([".", ";", ","])
        draft.add_fact(before, value, after, kind=kind, names=known_as(name, key))


def sections(draft: Draft, words: Words, count: int) -> None:
    """Named blocks that repeat the same keys: only section and key together find a value."""
    rng = words.rng
    draft.layout = "sections"
    notation = rng.choice("ini ini yaml yaml json heading toml record record".split())
    keys = unique_names(words, rng.randint(1, max(1, min(4, count // 2))))
    style = rng.choice(["snake", "snake", "kebab", "camel", "plain"])
    if notation in ("heading", "record"):
        style = rng.choice(["title", "sentence", "plain"])
    kind_of = words.noun()
    indent = "  " if notation in ("yaml", "json") and rng.random() < 0.4 else ""
    if indent:
        root = words.noun()
        draft.add(f"{root}:" if notation == "yaml" else f'"{root}": {{')
    for _ in range(max(1, min(4, count // (len(keys) + 1)))):
        title = [words.noun()] if rng.random() < 0.7 else [words.pseudo(), str(rng.randint(1, 9))]
        section = "-".join(title)
        if section in draft.used:
            continue
        draft.used.add(section)
        opening = {"ini": f"[{section}]", "toml": f"[{section}]", "yaml": f"{section}:"}
        opening |= {"json": f'"{section}": {{', "heading": section.title()}
        opening |= {"record": f"{spell([kind_of], style)}: {section}"}
        opened = indent + opening[notation]
        above = (draft.add(opened), opened.lower().rindex(section))
        for key in rng.sample(keys, rng.randint(1, len(keys))):
            kind, value = words.value(key)
            spelled, plain = spell(key, style), " ".join(key)
            before, after = f"{indent}  {spelled}: ", ""
            if notation == "ini":
                before = spelled + rng.choice([" = ", "="])
            elif notation == "toml":
                before, after = f'{spelled} = "', '"'
            elif notation == "json":
                before, after = f'{indent}  "{spelled}": "', '",'
            elif notation == "heading":
                before = f"{spelled.capitalize()}: "
            elif notation == "record":
                before = f"{spelled}: "
            names = [f"{plain} of {section}", f"{section} {plain}", f"{plain} of the {section}"]
            names += [f"{plain} in the {section} section", f"{plain} in {section}"]
            names += [
                f"{section}.{spelled}",
                f"{plain} in section {section}",
                f"{spelled} of {section}",
                plain,
                spelled,
            ]
            draft.add_fact(
                before, value, after, kind=kind, names=tuple(dict.fromkeys(names)), title=section,
                above=above,
            )  # fmt: skip
        if notation == "json":
            draft.add(indent + "}" + rng.choice(["", ","]))
        elif rng.random() < 0.4:
            draft.add()


LEVELS = "INFO WARN WARNING ERROR DEBUG FATAL NOTICE info warn error CRITICAL".split()


def log(draft: Draft, words: Words, count: int) -> None:
    """Log lines: time, level, component, message, sometimes with key=value pairs."""
    rng = words.rng
    draft.layout = "log"
    shape = rng.randrange(4)
    seen = set()
    for _ in range(count):
        day, clock, level = words.day(), words.clock(), rng.choice(LEVELS)
        component, message = words.pseudo(), words.phrase(2, 4)
        if component in draft.used or message in seen:
            continue
        draft.used.add(component)
        seen.add(message)
        head = [f"{day} {clock} {level} {component}: ", f"[{clock}] {level} [{component}] ",
                f"{clock} {component}[{rng.randint(1, 9999)}]: {level}: ", f"{level} {component} - "][shape]  # fmt: skip
        number = len(draft.lines)
        asks: tuple[str, ...] = (f"What did {component} log?", f"What is the message of {component}?", f"What does {component} say?",
                f"Which message was logged by {component}?", f"What happened to {component}?")  # fmt: skip
        draft.note(number, len(head), message, asks=asks)
        if clock in head:
            asks = (f"When did {component} log?", f"At what time did {component} write '{message}'?",
                    f"At what time was '{message}' logged?", f"What is the time of '{message}'?")  # fmt: skip
            draft.note(number, head.index(clock), clock, kind="clock", asks=asks)
        asks = (f"What is the level of {component}?", f"Which level has the message '{message}'?",
                f"What is the log level of {component}?")  # fmt: skip
        draft.note(number, head.index(level), level, asks=asks)
        asks = (f"Which component logged '{message}'?", f"Who logged '{message}'?")
        draft.note(number, head.index(component), component, asks=asks)
        text = head + message
        for name in unique_names(words, rng.choice([0, 0, 1, 2])):
            kind, value = words.value(name)
            if " " in value:
                continue
            key = name[-1]
            names = (
                f"{key} of {component}",
                f"{component} {key}",
                f"{key} in the line of {component}",
                key,
            )
            draft.note(number, len(text) + len(key) + 2, value, kind=kind, names=names)
            text += f" {key}={value}"
        draft.add(text)


def items(draft: Draft, words: Words, count: int) -> None:
    """Numbered items and clauses: `3. Wash the lorry`, `4.2 Fees are paid yearly`."""
    rng = words.rng
    draft.layout = "items"
    start, form = rng.randint(1, 4), rng.randrange(5)
    called = [("item", "point", "number"), ("clause", "section", "paragraph"), ("item", "number"),
              ("step",), ("article",)][form]  # fmt: skip
    for index in range(start, start + min(count, 6)):
        label = [
            f"{index}.",
            f"{rng.randint(1, 12)}.{index}",
            f"({index})",
            f"Step {index}:",
            f"Article {index}",
        ][form]
        if label in draft.used:
            continue
        draft.used.add(label)
        text = words.phrase(2, 6) if rng.random() < 0.6 else words.sentence()[:50].strip()
        bare = label.strip(".()").removeprefix("Step ").removeprefix("Article ").strip(":")
        asks = tuple(
            template.format(f"{name} {bare}")
            for name in called
            for template in ("What does {} say?", "What is {}?", "Read {}.", "{}?")
        )
        draft.add_fact(label + " ", text, asks=asks)


def prose(draft: Draft, words: Words, count: int) -> None:
    """Lines of English or of invented words, as filler."""
    rng = words.rng
    for _ in range(count):
        if rng.random() < 0.6:
            line = words.sentence()
        else:
            line = " ".join(words.phrase() for _ in range(rng.randint(2, 5)))
            line = line + rng.choice([".", ";", ":", "", "!"])
        draft.add(line[: rng.randint(20, 150)] if rng.random() < 0.8 else line)


def furniture(draft: Draft, words: Words) -> None:
    """A heading, a ruler, a comment or an empty line."""
    rng = words.rng
    pick = rng.random()
    if pick < 0.35:
        draft.add()
    elif pick < 0.55:
        draft.add((rng.choice(RULERS) * rng.randint(3, 64))[:64])
    elif pick < 0.7:
        draft.add(words.phrase(1, 4).upper())
    elif pick < 0.8:
        draft.add(f"{rng.randint(1, 20)}. {words.phrase(1, 4).title()}")
    elif pick < 0.9:
        draft.add(rng.choice(["# ", "// ", "; ", "## ", "-- "]) + words.phrase(1, 6))
    else:
        draft.add(words.phrase(1, 5).center(64).rstrip())


# (Maker, its weight in an exam, its weight in lessons, which dwell on what an exam shows hard.)
SECTIONS: tuple[tuple[mixing.Maker, int, int], ...] = (
    (fields, 8, 8),
    (sections, 4, 5),
    (tables.table, 5, 6),
    (clauses.sentences, 4, 7),
    (log, 2, 2),
    (items, 1, 1),
    (prose, 3, 2),
    (letters.card, 0, 7),
    (letters.letter, 0, 5),
    (letters.bill, 0, 2),
    (listings.separated, 0, 5),
    (listings.stanzas, 0, 5),
    (listings.package_log, 0, 2),
    (code.constants, 0, 2),
    (code.functions, 0, 3),
    (code.options, 0, 2),
    (code.classes, 0, 2),
    (contents.contents, 0, 2),
    (contents.steps, 0, 2),
    (contents.programme, 0, 2),
    (contents.changes, 0, 1),
    (contents.glossary, 0, 2),
)
NARROW: tuple[mixing.Maker, ...] = (
    letters.card, letters.card, fields, contents.glossary, contents.steps, code.constants, sections,
)  # fmt: skip


def mixed(draft: Draft, words: Words, maker: mixing.Maker, count: int) -> None:
    """A lesson's block: sometimes beside another one, or within something."""
    rng = words.rng
    pick = rng.random()
    if pick < 0.14:
        pair = [rng.choice([*NARROW, mixing.address, mixing.address]), rng.choice(NARROW)]
        rng.shuffle(pair)
        if mixing.beside(draft, words, pair[0], pair[1], min(8, count)):
            return
    elif pick < 0.22:
        mixing.framed(draft, words, maker, count)
        return
    maker(draft, words, count)
