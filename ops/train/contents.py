"""Contents lists, numbered steps, programmes, changes, glossaries. One function a look; lessons only."""
# ruff: noqa: SIM905, E501  (tables read better on long lines)

from __future__ import annotations

from train.document_draft import Draft
from train.words import Words

ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()


def contents(draft: Draft, words: Words, count: int) -> None:
    """Headings with their numbers and pages."""
    rng = words.rng
    draft.layout = "items"
    form, fill = rng.randrange(4), rng.choice([".", ".", " ", ". ", " ."])
    page, chapter, part = rng.randint(1, 30), rng.randint(1, 6), 0
    right = rng.randint(38, 62)
    if rng.random() < 0.6:
        draft.add(
            rng.choice(["Contents", "TABLE OF CONTENTS", "Contents".center(50), "In this issue"])
        )
    for _ in range(count + 1):
        title = words.phrase(1, 4)
        if title in draft.used or len(title) > 40:
            continue
        draft.used.add(title)
        title = title[0].upper() + title[1:]
        page += rng.randint(1, 40)
        part += 1
        if form == 1 and rng.random() < 0.3:
            chapter, part = chapter + 1, 1
        bare = [str(part), f"{chapter}.{part}", "", f"{chapter}.{part}"][form]
        label = [f"{part}.", f"{chapter}.{part}", "", f"Chapter {part}:"][form]
        if form == 3:
            bare = str(part)
        lead = (label + " " * rng.randint(1, 3)) if label else ""
        lead = " " * (2 * (form == 1 and part > 1 and rng.random() < 0.3)) + lead
        number, text = len(draft.lines), lead + title + " "
        shown = str(page)
        dots = (fill * 64)[: max(2, right - len(text) - len(shown) - 1)] + " "
        asks = (
            f"On which page is {title}?", f"What page is '{title}' on?", f"Where does {title} begin?", f"page of {title}",
            f"On what page does {title} start?", f"Which page has {title}?", f"Where can I read about {title.lower()}?",
        )  # fmt: skip
        draft.note(number, len(text + dots), shown, asks=asks)
        back = [
            f"What is on page {shown}?",
            f"Which chapter begins on page {shown}?",
            f"What starts on page {shown}?",
        ]
        if bare:
            back += [
                f"What is the title of chapter {bare}?",
                f"What is chapter {bare} called?",
                f"What is section {bare}?",
                f"What is {bare} about?",
            ]
            draft.note(
                number,
                lead.index(bare),
                bare,
                asks=(
                    f"Which chapter is {title}?",
                    f"What number has {title}?",
                    f"Which section is about {title.lower()}?",
                ),
            )
        draft.note(number, len(lead), title, asks=tuple(back))
        draft.add(text + dots + shown)


def steps(draft: Draft, words: Words, count: int) -> None:
    """Numbered or bulleted lines, asked for by number and by rank."""
    rng = words.rng
    draft.layout = "items"
    form = rng.choice(
        ["{}. ", "{}) ", "({}) ", "[{}] ", "{}: ", "Step {}. ", "- ", "* ", "Q{}. ", "#{} "]
    )
    start = 1 if rng.random() < 0.8 else rng.randint(2, 9)
    called = rng.choice(["step", "item", "point", "entry", "rule", "number", "task"])
    if f"list {called}" in draft.used:
        return
    draft.used.add(f"list {called}")
    for rank in range(min(count, 9)):
        text = words.phrase(2, 6) if rng.random() < 0.5 else words.sentence()[:56].strip()
        if rng.random() < 0.2:
            text = f"{words.phrase(1, 2)} ({words.remark()})"
        number = rank + start
        asks = [
            f"What is the {ORDINALS[rank]} {called}?",
            f"What does the {ORDINALS[rank]} {called} say?",
            f"Read the {ORDINALS[rank]} {called}.",
        ]
        if "{}" in form:
            asks += [
                f"What is {called} {number}?",
                f"What does {called} {number} say?",
                f"{called} {number}",
            ]
            if start > 1:
                asks = asks[3:]
        lead = form.format(number)
        draft.add_fact(" " * rng.choice([0, 0, 0, 2]) + lead, text, asks=tuple(asks))


def programme(draft: Draft, words: Words, count: int) -> None:
    """What is when, where and with whom: timetables, agendas, rotas."""
    rng = words.rng
    draft.layout = "table"
    form = rng.randrange(4)
    for _ in range(count):
        start, end, what = words.clock()[:5], words.clock()[:5], words.phrase(1, 3)
        who, where = (
            words.person(),
            f"Room {rng.randint(1, 40)}" if rng.random() < 0.5 else words.place(),
        )
        if what in draft.used or start in draft.used:
            continue
        draft.used |= {what, start}
        starts = (
            f"When does {what} start?",
            f"When is {what}?",
            f"At what time is {what}?",
            f"What time does {what} begin?",
        )
        ends = (
            f"When does {what} end?",
            f"Until when is {what}?",
            f"What time does {what} finish?",
        )
        whats = (f"What is at {start}?", f"What starts at {start}?", f"What happens at {start}?")
        people = (
            f"Who gives {what}?",
            f"Who is down for {what}?",
            f"Who does {what}?",
            f"Who speaks about {what}?",
        )
        places = (
            f"Where is {what}?",
            f"In which room is {what}?",
            f"Where does {what} take place?",
        )
        pieces: list[tuple[str, tuple[str, ...]]]
        if form == 0:
            pieces = [
                (start, starts),
                (rng.choice([" - ", "-", " – ", " to "]), ()),
                (end, ends),
                ("  ", ()),
                (what, whats),
                (", ", ()),
                (where, places),
            ]
        elif form == 1:
            pieces = [
                (start, starts),
                ("  ", ()),
                (what.ljust(26), whats),
                (" ", ()),
                (who, people),
            ]
        elif form == 2:
            pieces = [
                ("* ", ()),
                (what, whats),
                (" (", ()),
                (who, people),
                ("), ", ()),
                (start, starts),
                (", ", ()),
                (where, places),
            ]
        else:
            pieces = [
                (where.ljust(18), places),
                (" ", ()),
                (start, starts),
                ("  ", ()),
                (end, ends),
                ("  ", ()),
                (what, whats),
            ]
        text = ""
        for piece, asks in pieces:
            if asks:
                draft.note(len(draft.lines), len(text), piece.rstrip(), asks=asks)
            text += piece
        draft.add(text)


def changes(draft: Draft, words: Words, count: int) -> None:
    """Releases with their dates and what changed."""
    rng = words.rng
    draft.layout = "items"
    asks: tuple[str, ...]
    form = rng.randrange(4)
    left = count
    while left > 0:
        version, day = words.version(), words.day()
        if version in draft.used:
            return
        draft.used.add(version)
        head, tail = [
            (f"{version} (", ")"),
            (f"## [{version}] - ", ""),
            (f"Version {version}, ", ""),
            (f"v{version} / ", ""),
        ][form]
        asks = (
            f"When was {version} released?",
            f"What is the date of {version}?",
            f"When did version {version} come out?",
            f"release date of {version}",
        )
        draft.note(len(draft.lines), len(head), day, kind="date", asks=asks)
        draft.add_fact(head[: head.index(version)], version, head[head.index(version) + len(version) :] + day + tail,
                       asks=(f"Which version was released on {day}?", f"Which version came out on {day}?"))  # fmt: skip
        bullet, number = rng.choice(["- ", "* ", "  - ", "  * "]), rng.randint(1, 3)
        for index in range(number):
            said, issue = words.phrase(3, 6), str(rng.randint(10, 9999))
            asks = (
                (f"What changed in {version}?", f"What is new in {version}?") if number == 1 else ()
            )
            word = said.split()[0]
            asks += (f"What was done about {word}?",) if index == 0 and len(word) > 3 else ()
            after = ""
            if rng.random() < 0.4:
                after = f" (#{issue})"
                draft.note(
                    len(draft.lines),
                    len(bullet + said) + 3,
                    issue,
                    asks=(f"Which issue is '{said}'?", f"What number has the change '{said}'?"),
                )
            draft.note(len(draft.lines), len(bullet), said, asks=asks)
            draft.add(bullet + said + after)
        left -= number + 1


def glossary(draft: Draft, words: Words, count: int) -> None:
    """Terms and what they mean, ingredients and how much of them, questions and answers."""
    rng = words.rng
    form = rng.randrange(4)
    draft.layout = "fields" if form < 3 else "sentences"
    for _ in range(count):
        term = words.phrase(1, 2) if form != 1 else words.noun()
        if term in draft.used:
            continue
        draft.used.add(term)
        if form == 0:
            mark = rng.choice([" - ", " – ", ": ", " — ", "  ", " = "])
            asks = (
                f"What is {term}?",
                f"What does {term} mean?",
                f"What is meant by {term}?",
                f"How is {term} defined?",
            )
            draft.add_fact(term + mark, words.phrase(3, 7), asks=asks)
        elif form == 1:
            amount = rng.choice(
                [
                    f"{rng.randint(1, 900)} {rng.choice(['g', 'ml', 'kg', 'tbsp', 'tsp', 'cups', 'cl', 'oz'])}",
                    f"{rng.randint(1, 12)}",
                    f"{rng.randint(1, 3)}/{rng.randint(2, 4)} cup",
                ]
            )
            asks = (
                f"How much {term}?",
                f"How much {term} is needed?",
                f"How many {term}?",
                f"What amount of {term} do I need?",
            )
            draft.add_fact(
                rng.choice(["", "- ", "* "]),
                amount,
                f" {term}" + rng.choice(["", f", {words.noun()}"]),
                asks=asks,
            )
        elif form == 2:
            said = words.phrase(2, 6)
            draft.add_fact(
                "  " + term.ljust(20) + " ",
                said,
                asks=(
                    f"What does {term} do?",
                    f"What is {term}?",
                    f"What is the meaning of {term}?",
                ),
            )
        else:
            question, said = (
                f"{rng.choice(['What is', 'Where is', 'How do I use'])} the {term}?",
                words.phrase(3, 6).capitalize(),
            )
            left, right = rng.choice([("Q: ", "A: "), ("Q. ", "A. "), ("", ""), ("> ", "")])
            draft.add(left + question)
            draft.add_fact(right, said, ".", asks=(question, f"What is answered to '{question}'?"))
