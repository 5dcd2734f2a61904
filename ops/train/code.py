"""Program text: constants, defaults, arguments, options. One function a look; lessons only."""
# ruff: noqa: SIM905, E501  (tables read better on long lines)

from __future__ import annotations

from collections.abc import Callable

from train.document_draft import Draft
from train.names import spell, unique_names
from train.words import Words

TYPES = "int str float bool bytes Path list[str] Any dict object None".split()
SMALL = "number code host path flag port count pseudo phrase url address version remark".split()


def _literal(words: Words, quote: str = "") -> tuple[str, str, str, str]:
    """(kind, what stands before a value, the value, what stands after it)."""
    rng = words.rng
    kind = rng.choice([*SMALL, "plain", "plain", "plain"])
    if kind == "plain":
        value = rng.choice(
            [
                str(rng.randint(0, 9999)), f"{rng.uniform(0, 90):.2f}", f"0x{rng.randint(16, 65535):X}",
                f"{rng.randint(1, 64)} * 1024", f"{rng.randint(1, 9)}_000", "None", "True", "False", "null",
                f"1e-{rng.randint(1, 9)}", f"{rng.randint(1, 60)} * 60", "()", "[]", "-1", f"1 << {rng.randint(2, 20)}",
                f"({rng.randint(1, 9)}, {rng.randint(0, 99)})", f"{words.pseudo(1, 1)}.{words.pseudo(1, 2).upper()}",
            ]
        )  # fmt: skip
        return "", "", value, ""
    quote = quote or rng.choice('""\'')
    return kind, quote, words.of(kind).replace(quote, ""), quote


CONSTANTS = (
    "{n} = {v}", "{n} = {v}", "{n}: Final = {v}", "const {n} = {v};", "#define {n} {v}", "let {n} = {v};",
    "static const int {n} = {v};", "export const {n} = {v};", "readonly {n}={v}", "final String {n} = {v};",
    "{n} := {v}", "    {n} = {v}", "self.{n} = {v}", "var {n} = {v}", "pub const {n}: usize = {v};", "set {n} {v}",
    "{n}: {v},", "\"{n}\": {v},", "local {n} = {v}", "{n} <- {v}",
)  # fmt: skip
CONSTANT_ASKS = (
    "What is the value of {n}?", "What is {n}?", "What is {n} set to?", "{n}", "What value has {n}?",
    "How is {n} defined?", "What is the constant {n}?", "What is {p} set to?", "What is the {p}?",
    "What's the {p}?", "Which value does {n} have?", "What does {n} equal?",
)  # fmt: skip


def constants(draft: Draft, words: Words, count: int) -> None:
    """Assignments of one language below each other, some with comments."""
    rng = words.rng
    draft.layout = "code"
    form = rng.choice(CONSTANTS)
    style = rng.choice(["upper", "upper", "snake", "camel"])
    comment = rng.choice(["  # ", "  // ", "  /* "])
    names = unique_names(words, count)
    pad = max(len(spell(name, style)) for name in names) if rng.random() < 0.2 else 0
    for name in names:
        spelled = spell(name, style)
        kind, left, value, right = _literal(words)
        before, after = form.replace("{n}", spelled.ljust(pad)).split("{v}")
        if rng.random() < 0.35:
            note = words.phrase(1, 4)
            after += comment + note + (" */" if "*" in comment else "")
            column = (
                len(before + left + value + right + after)
                - len(note)
                - (3 if "*" in comment else 0)
            )
            asks = (
                f"What does the comment on {spelled} say?",
                f"What is the comment of {spelled}?",
            )
            draft.note(len(draft.lines), column, note, asks=asks)
        asked = tuple(a.format(n=spelled, p=" ".join(name)) for a in CONSTANT_ASKS)
        draft.add_fact(before + left, value, right + after, kind=kind, asks=asked)


def functions(draft: Draft, words: Words, count: int) -> None:
    """Definitions with arguments, their types and defaults, and a line of description."""
    rng = words.rng
    draft.layout = "code"
    opening, closing = rng.choice(
        [
            ("def ", ":"),
            ("def ", ":"),
            ("async def ", ":"),
            ("function ", " {"),
            ("func ", " {"),
            ("fn ", " {"),
            ("", ""),
        ]
    )
    asks: tuple[str, ...]
    done = 0
    while done < max(1, count - 1):
        (name, *arguments) = unique_names(words, rng.randint(2, 5))
        called = spell(name[:2], rng.choice(["snake", "camel"]))
        if called in draft.used:
            return
        draft.used.add(called)
        below = rng.random() < 0.4
        typed, spaced = rng.random() < 0.5, rng.choice(["=", "=", " = "])
        line = f"{opening}{called}("
        first = len(draft.lines)
        if below:
            draft.add(line)
            line = "    "
        listed = len(line)
        for index, argument in enumerate(arguments):
            spelled = spell(argument, "snake")
            if len(line) + len(spelled) > 58 and not below:
                break
            if index == 0:
                asks = (
                    f"What is the first argument of {called}?",
                    f"What does {called} take first?",
                    f"first parameter of {called}",
                )
                draft.note(len(draft.lines), len(line), spelled, asks=asks)
            line += spelled
            if typed:
                kind_of = rng.choice(TYPES)
                asks = (
                    f"What type is {spelled}?",
                    f"What is the type of {spelled} in {called}?",
                    f"Which type does {called} take for {spelled}?",
                )
                draft.note(len(draft.lines), len(line) + 2, kind_of, asks=asks)
                line += f": {kind_of}"
                spaced = " = "
            if rng.random() < 0.65:
                kind, left, value, right = _literal(words)
                plain = " ".join(argument)
                asks = (
                    f"What is the default of {spelled}?", f"What is the default {plain}?", f"default of {spelled}",
                    f"What is the default value of {spelled} in {called}?", f"Which default does {called} have for {spelled}?",
                    f"What does {spelled} default to?", f"What is {spelled} if it is not given?", f"What's the default for {plain}?",
                )  # fmt: skip
                draft.note(len(draft.lines), len(line + spaced + left), value, kind=kind, asks=asks)
                line += spaced + left + value + right
            if below:
                draft.add(line + ",")
                line = "    "
            elif index < len(arguments) - 1:
                line += ", "
        if below:
            line = ""
        else:
            line = line.rstrip(", ")
            shown = line[listed:]
            if shown and rng.random() < 0.5 and ")" not in shown:
                asks = (
                    f"What arguments does {called} take?",
                    f"Which parameters does {called} have?",
                    f"What are the arguments of {called}?",
                )
                draft.note(len(draft.lines), listed, shown, asks=asks)
        line += ")"
        if rng.random() < 0.5:
            back = rng.choice(TYPES) if rng.random() < 0.6 else words.pseudo().capitalize()
            asks = (
                f"What does {called} return?",
                f"What is the return type of {called}?",
                f"Which type does {called} return?",
            )
            draft.note(len(draft.lines), len(line) + 4, back, asks=asks)
            line += f" -> {back}"
        draft.add(line + closing)
        if rng.random() < 0.5:
            said = words.phrase(3, 6).capitalize()
            left, right = rng.choice([('    """', '."""'), ("    # ", ""), ("    // ", "")])
            asks = (
                f"What does {called} do?",
                f"What is the description of {called}?",
                f"What is {called} for?",
            )
            draft.add_fact(left, said, right, asks=asks)
        if rng.random() < 0.3:
            draft.add()
        done += len(draft.lines) - first


OPTION_FORMS: tuple[Callable[[str, str, str, str], str], ...] = (
    lambda short, long, meta, pad: f"  -{short}, --{long}{pad}",
    lambda short, long, meta, pad: f"  -{short}, --{long}={meta}{pad}",
    lambda short, long, meta, pad: f"  --{long} {meta}{pad}",
    lambda short, long, meta, pad: f"-{short} {meta}{pad}",
    lambda short, long, meta, pad: f"  --{long}, -{short}{pad}",
)


def options(draft: Draft, words: Words, count: int) -> None:
    """What a program's --help prints, or how it is declared."""
    rng = words.rng
    draft.layout = "code"
    whats: tuple[str, ...]
    defaults: tuple[str, ...]
    declared = rng.random() < 0.3
    form = rng.choice(OPTION_FORMS)
    quote = rng.choice("\"'")
    for name in unique_names(words, count):
        long = spell(name[:2], "kebab")
        short = rng.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIKLNOPRSTUVW")
        said, number = words.phrase(2, 5), len(draft.lines)
        whats = (
            f"What does --{long} do?",
            f"What is the help of --{long}?",
            f"What is --{long} for?",
        )
        defaults = (f"What is the default of --{long}?", f"default of {long}", f"What is the default {' '.join(name[:2])}?",
                    f"What does --{long} default to?", f"What is the default value for {long}?")  # fmt: skip
        if declared:
            text = f"add_argument({quote}--{long}{quote}, "
            if rng.random() < 0.7:
                kind, left, value, right = _literal(words, quote)
                draft.note(number, len(text) + 8 + len(left), value, kind=kind, asks=defaults)
                text += f"default={left}{value}{right}, "
            draft.note(number, len(text) + 6, said, asks=whats)
            draft.add(text + f"help={quote}{said}{quote})")
            continue
        meta = rng.choice([name[-1].upper(), "N", "FILE", "<" + name[-1] + ">"])
        text = form(short, long, meta, "")
        if f"-{long}" not in text:
            whats = tuple(what.replace(f"--{long}", f"-{short}") for what in whats)
            defaults = (f"What is the default of -{short}?",)
        elif f"-{short}" in text and rng.random() < 0.5:
            asks = (f"What is the short form of --{long}?", f"Which letter stands for --{long}?")
            draft.note(number, text.index(f"-{short}"), f"-{short}", asks=asks)
        text = text.ljust(rng.choice([24, 22, 26, 0])) + "  "
        draft.note(number, len(text), said, asks=whats)
        text += said
        if rng.random() < 0.5:
            _, _, value, _ = _literal(words)
            left, right = rng.choice(
                [
                    (" (default: ", ")"),
                    (" [default: ", "]"),
                    (" (default ", ")"),
                    ("; default ", ""),
                    (" [", "]"),
                ]
            )
            draft.note(number, len(text + left), value, asks=defaults)
            text += left + value + right
        draft.add(text)


def classes(draft: Draft, words: Words, count: int) -> None:
    """Imports, bases, members and what is raised."""
    rng = words.rng
    asks: tuple[str, ...]
    draft.layout = "code"
    for _ in range(max(1, count // 2)):
        name = words.pseudo(1, 2).capitalize() + rng.choice(
            ["", "Error", "Store", words.noun().capitalize()]
        )
        if name in draft.used:
            continue
        draft.used.add(name)
        pick = rng.randrange(5)
        if pick == 0:
            where = ".".join(words.pseudo(1, 2) for _ in range(rng.randint(1, 3)))
            asks = (
                f"Where is {name} imported from?",
                f"From which module does {name} come?",
                f"Which module has {name}?",
            )
            draft.add_fact("from ", where, f" import {name}", asks=asks)
        elif pick == 1:
            base = words.pseudo(1, 2).capitalize() + rng.choice(["", "Error", "Base"])
            asks = (
                f"What is the base class of {name}?",
                f"What does {name} inherit from?",
                f"What does {name} extend?",
            )
            draft.add_fact(f"class {name}(", base, "):", asks=asks)
            for member in unique_names(words, rng.randint(0, 3)):
                kind, left, value, right = _literal(words)
                spelled = spell(member, rng.choice(["snake", "upper"]))
                asks = (
                    f"What is {spelled} of {name}?",
                    f"What is {name}.{spelled}?",
                    f"What is the value of {spelled}?",
                )
                draft.add_fact(f"    {spelled} = {left}", value, right, kind=kind, asks=asks)
        elif pick == 2:
            said = words.phrase(2, 6)
            asks = (
                f"What does {name} say?",
                f"What is the message of {name}?",
                f"Which message does {name} carry?",
            )
            draft.add_fact(f'    raise {name}("', said, '")', asks=asks)
        elif pick == 3:
            lower = spell([name.lower()], "snake")
            kind, left, value, right = _literal(words)
            asks = (f"What does {lower} return?", f"What is returned by {lower}?")
            draft.add(f"def {lower}():")
            draft.add_fact("    return " + left, value, right, kind=kind, asks=asks)
        else:
            said = words.phrase(3, 6)
            asks = (
                f"What must be done about {name}?",
                f"What is to be done for {name}?",
                f"What does the TODO of {name} say?",
            )
            draft.add_fact(rng.choice([f"# TODO({name}): ", f"// FIXME {name}: "]), said, asks=asks)
