"""The ways people ask: phrasings for each task, and the questions of one placed document."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from train.document_draft import Draft, Fact, Placed
from train.persons_words import unknown
from train.sample import NOT_FOUND, Question
from train.words import Words

LOOKUP = (
    "What is the {}?", "What is the {}?", "What is the {}?", "what is the {}?", "What's the {}?",
    "{}?", "{}?", "{}", "Find the {}.", "Find the {}", "find {}", "Give me the {}.", "The {}?",
    "What is the value of {}?", "What value does {} have?", "Which {} is given?", "Tell me the {}.",
    "Look up {}.", "What does the document say about the {}?", "What is {}?", "State the {}.",
    "{}:", "Which {}?", "Please find the {}.", "What is {} set to?", "Get the value for {}",
    "What is the {} in this document?", "What {} is stated?", "value of {}", "Read the {}.",
)  # fmt: skip
POLITE = (
    "According to the document, what is the {}?", "Can you tell me the {}?", "I need the {}.",
    "What {} does the document give?", "Could you look up the {}?", "Do you see the {}?",
    "Hi, what is the {}?", "Extract the {}.", "Answer with the {}.", "what is the {} please?",
)  # fmt: skip
BY_KIND = {
    "person": ("Who is the {}?", "who is the {}?"),
    "company": ("Who is the {}?", "Which company is the {}?"),
    "money": ("How much is the {}?", "how much is the {}?", "How high is the {}?"),
    "date": ("When is the {}?", "On what date is the {}?", "What date is the {}?"),
    "clock": ("At what time is the {}?", "When is the {}?"),
    "place": ("Where is the {}?", "Which place is the {}?"),
    "path": ("Where is the {}?", "Which path is the {}?"),
    "span": ("How long is the {}?",),
    "number": ("How much is the {}?", "How big is the {}?"),
    "count": ("How many {}?", "How many {} are there?", "What number is the {}?"),
    "telephone": ("On which number is the {}?", "What number is the {}?"),
    "flag": ("Is the {} on or off?", "What is {} set to?"),
}
LINE_NUMBER = (
    "Transcribe line {}.", "Transcribe line {}", "What does line {} say?", "Read line {}.",
    "line {}", "What is written on line {}?", "Copy line {}.", "Write out line {}.", "Line {}?",
    "What is on line {}?",
)  # fmt: skip
LINE_WITH = (
    "Transcribe the line that contains '{}'.", 'Transcribe the line that contains "{}".',
    "Which line contains '{}'?", "Transcribe the line with {}.", "Copy the line containing '{}'.",
    "Read the line that contains {}.", "What does the line with '{}' say?",
    "Write out the line that mentions {}.", "Transcribe the line that contains {}",
    "Find the line with '{}'.",
)  # fmt: skip
AFTER = (
    "What comes after '{}'?", 'What comes after "{}"?', "What follows '{}'?", 'What follows "{}"?',
    "What comes after {}?", "What follows {}?", "What is written after '{}'?",
    "What stands after '{}'?", "What follows the phrase '{}'?", "Continue: {}",
    "What text follows '{}'?", "what comes after '{}'",
)  # fmt: skip
NEXT_WORD = (
    "Which word follows '{}'?", "What is the next word after '{}'?", 'Which word follows "{}"?',
    "What word comes after '{}'?", "Which word comes right after {}?", "The word after '{}'?",
)  # fmt: skip

# How often each kind is asked, and each layout's facts: lessons dwell on what an exam shows hard.
TASKS = ("lookup", "absent", "number", "with", "follows")
EXAM, LESSON = (0.55, 0.12, 0.10, 0.10, 0.13), (0.65, 0.08, 0.07, 0.09, 0.11)
DWELL = {"sentences": 4.0, "table with commas": 4.0, "sections": 3.0, "card": 2.0}


def vary(rng: Random, text: str) -> str:
    """Small differences of hand: lower case, no question mark, a capital."""
    pick = rng.random()
    if pick < 0.1:
        return text.lower()
    if pick < 0.15:
        return text.rstrip("?.")
    if pick < 0.25:
        return text[:1].upper() + text[1:]
    return text


def recase(rng: Random, name: str) -> str:
    pick = rng.random()
    if pick < 0.1:
        return name.title()
    if pick < 0.15:
        return name.capitalize()
    return name.upper() if pick < 0.18 else name


def _template(rng: Random, kind: str) -> str:
    pick = rng.random()
    if pick < 0.25 and kind in BY_KIND:
        return rng.choice(BY_KIND[kind])
    return rng.choice(POLITE if pick < 0.35 else LOOKUP)


def lookup(rng: Random, placed: Placed, fact: Fact) -> Question:
    """Ask for one fact."""
    if fact.asks and (not fact.names or rng.random() < 0.6):
        text = vary(rng, rng.choice(fact.asks))
    else:
        text = vary(rng, _template(rng, fact.kind).format(recase(rng, rng.choice(fact.names))))
    if fact.answer == NOT_FOUND:
        return Question(text=text, answer=NOT_FOUND, task="absent")
    where = placed.cells(fact.spot, len(fact.answer))
    title = placed.cells(fact.above, len(fact.title))
    return Question(
        text=text, answer=fact.answer, task="lookup", where=where, title=title, layout=fact.layout
    )


def absent(rng: Random, words: Words, draft: Draft) -> Question | None:
    """Ask for a field the document does not have: a stranger, or one that looks like a real one."""
    everything = "\n".join(draft.lines).lower()
    named = [fact for fact in draft.facts if fact.names]
    for _ in range(5):
        if not words.test and rng.random() < 0.3:
            if (asked := unknown(words, {fact.kind for fact in draft.facts})) is None:
                continue
            if not any(asked in fact.asks for fact in draft.facts):
                return Question(text=vary(rng, asked), answer=NOT_FOUND, task="absent")
        parts = words.name_words()
        if named and rng.random() < 0.5:
            other = rng.choice(named).names[0].split()
            if "of" in other[1:-1]:
                parts = _stranger_of(words, " ".join(other))
            elif len(other) > 1:
                parts = (
                    [*other[:-1], words.noun()]
                    if rng.random() < 0.5
                    else [words.noun(), *other[1:]]
                )
            else:
                parts = [words.noun(), *other] if rng.random() < 0.3 else [words.noun()]
        looks = {sep.join(parts) for sep in (" ", "_", "-", ".", "")}
        if any(look in everything for look in looks) or _half_known(parts, draft):
            continue
        asked = recase(rng, " ".join(parts))
        text = vary(rng, _template(rng, rng.choice(list(BY_KIND))).format(asked))
        return Question(text=text, answer=NOT_FOUND, task="absent", where=())
    return None


def _stranger_of(words: Words, name: str) -> list[str]:
    """`port of db` with either side replaced: a row without that column, or a row not there."""
    column, _, row = name.partition(" of ")
    if words.rng.random() < 0.5:
        return f"{words.noun()} of {row}".split()
    return f"{column} of {words.pseudo()}".split()


def _half_known(parts: list[str], draft: Draft) -> bool:
    """A person would take `port` for `server port` when it is the only one: do not teach either."""
    asked = set(parts)
    for fact in draft.facts:
        for name in fact.names[:1]:
            known = set(name.split())
            if asked <= known or (len(known) > 1 and known < asked):
                return True
    return False


def transcribe_number(rng: Random, placed: Placed) -> Question | None:
    page = rng.randrange(len(placed.pages))
    lines = placed.pages[page]
    number = rng.randrange(len(lines))
    text = lines[number].strip()
    if not text:
        return None
    ask = rng.choice(LINE_NUMBER).format(number + 1)
    if len(placed.pages) > 1:
        ask = rng.choice(LINE_NUMBER).format(f"{number + 1} of page {page + 1}")
    start = len(lines[number]) - len(lines[number].lstrip())
    where = tuple((page, number, start + i) for i in range(len(text)))
    return Question(text=ask, answer=text, task="line", where=where)


def _anywhere(rng: Random, placed: Placed) -> tuple[int, int, str]:
    page = rng.randrange(len(placed.pages))
    number = rng.randrange(len(placed.pages[page]))
    return page, number, placed.pages[page][number]


def transcribe_with(rng: Random, placed: Placed) -> Question | None:
    page, number, line = _anywhere(rng, placed)
    tokens = line.split()
    if not tokens:
        return None
    at = rng.randrange(len(tokens))
    word = " ".join(tokens[at : at + rng.choice([1, 1, 1, 2, 3])]).strip(".,;:\"'()")
    everything = "\n".join("\n".join(lines) for lines in placed.pages).lower()
    if len(word) < 3 or everything.count(word.lower()) != 1:
        return None
    text = line.strip()
    start = len(line) - len(line.lstrip())
    where = tuple((page, number, start + i) for i in range(len(text)))
    ask = rng.choice(LINE_WITH).format(word)
    return Question(text=ask, answer=text, task="line_with", where=where)


def follows(rng: Random, placed: Placed) -> Question | None:
    page, number, line = _anywhere(rng, placed)
    tokens = line.split(" ")
    if len(tokens) < 2:
        return None
    cut = rng.randrange(1, len(tokens))
    first = max(0, cut - rng.randint(1, 4))
    phrase = " ".join(tokens[first:cut]).strip()
    rest = " ".join(tokens[cut:])
    text = rest.strip()
    everything = "\n".join("\n".join(lines) for lines in placed.pages).lower()
    if len(phrase) < 3 or not text or everything.count(phrase.lower()) != 1:
        return None
    start = len(line) - len(rest) + len(rest) - len(rest.lstrip())
    ask, task = rng.choice(AFTER), "after"
    if rng.random() < 0.3:
        ask, task, text = rng.choice(NEXT_WORD), "next_word", text.split()[0]
    where = tuple((page, number, start + i) for i in range(len(text)))
    return Question(text=ask.format(phrase), answer=text, task=task, where=where)


def _answerable(draft: Draft) -> list[Fact]:
    """The facts with those of their names and questions that no other fact shares."""
    uses: dict[str, int] = {}
    for fact in draft.facts:
        for name in {name.lower() for name in (*fact.names, *fact.asks)}:
            uses[name] = uses.get(name, 0) + 1

    def clear(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if uses[name.lower()] == 1)

    facts = [replace(f, names=clear(f.names), asks=clear(f.asks)) for f in draft.facts]
    return [fact for fact in facts if fact.names or fact.asks]


def ask(words: Words, draft: Draft, placed: Placed, count: int) -> list[Question]:
    """About `count` different questions on one document, in random order."""
    rng = words.rng
    found: dict[str, Question] = {}
    facts = _answerable(draft)
    often = [1.0 if words.test else DWELL.get(fact.layout, 1.0) for fact in facts]
    for _ in range(count * 2):
        task = rng.choices(TASKS, EXAM if words.test else LESSON)[0]
        question: Question | None = None
        if task == "lookup" and facts:
            question = lookup(rng, placed, rng.choices(facts, often)[0])
        elif task == "absent" and draft.facts:
            question = absent(rng, words, draft)
        elif task == "number":
            question = transcribe_number(rng, placed)
        elif task == "with":
            question = transcribe_with(rng, placed)
        elif task == "follows":
            question = follows(rng, placed)
        if question is not None and len(question.text) <= 100:
            found.setdefault(question.text.lower(), question)
        if len(found) >= count:
            break
    return list(found.values())
