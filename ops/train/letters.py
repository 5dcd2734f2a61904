"""Letters, bills and notices: what people send each other. Lessons only."""
# ruff: noqa: E501  (tables read better on long lines)

from __future__ import annotations

import re

from train.document_draft import Draft
from train.persons_words import familiar
from train.words import Words

BETWEEN = (": ", ": ", ":", "  ", " - ", " = ", "=", " : ", ":   ", " .... ", " | ", " ")

# As clauses.CLAUSES.
SAYINGS: tuple[tuple[str, dict[str, str]], ...] = (
    ("Thank you for your order {code} of {day}.", {"code": "Which order is it about?|What is the order number?", "day": "When was it ordered?|When was the order placed?"}),
    ("The amount of {money} will be taken from your account on {day}.", {"money": "How much will be taken from the account?|How much will be debited?", "day": "When will the money be taken?|When will the account be debited?"}),
    ("If you have any questions, call us on {telephone}.", {"telephone": "What number do I call with questions?|How can I reach them?|What is the phone number?"}),
    ("Please ring {telephone} and ask for {person}.", {"telephone": "Which number do I ring?|What is the telephone number?", "person": "For whom do I ask?|Whom should I ask for?"}),
    ("You can reach me at {telephone} or {email}.", {"telephone": "At what number can the writer be reached?|What is the writer's phone number?", "email": "What is the writer's email?|How can I mail the writer?"}),
    ("We charge {money} for each reminder.", {"money": "What does a reminder cost?|How much is charged for a reminder?"}),
    ("Your membership ({code}) runs out on {day}.", {"code": "What is the membership number?", "day": "When does the membership end?|When does the membership run out?"}),
    ("From {day} the monthly fee rises from {money} to {money2}.", {"day": "From when on is the fee higher?|When does the fee rise?", "money": "What was the fee before?|What is the old fee?", "money2": "What is the new fee?|How much is the fee from then on?"}),
    ("Tickets cost {money}, or {money2} for children.", {"money": "How much is a ticket?|What do tickets cost?", "money2": "What do children pay?|How much is it for children?"}),
    ("{person} will visit you on {day} at {clock}.", {"person": "Who will visit?|Who is coming?", "day": "When is the visit?|On which day is the visit?", "clock": "At what time is the visit?|At what time does the visitor come?"}),
    ("Doors open at {clock}; the {word} begins at {clock2}.", {"clock": "When do doors open?|When can we get in?", "clock2": "When does the {word} begin?|At what time is the {word}?"}),
    ("The repair of the {word} came to {money}, of which you paid {money2}.", {"money": "What did the repair of the {word} cost?|How much was the repair?", "money2": "How much was paid for the repair?|What was paid of it?"}),
    ("Our office in {street} is closed until {day}.", {"street": "Where is the office?|What is the address of the office?", "day": "How long is the office closed?|Until when is the office closed?"}),
    ("Please quote {code} in all letters.", {"code": "What should be quoted?|Which reference do I quote?"}),
    ("We have received {money} from {company}.", {"money": "How much was received?|What sum came in?", "company": "From whom was money received?|Who paid?"}),
    ("Your {word} was sent with {company} (parcel {code}).", {"company": "Who brings the {word}?|With whom was the {word} sent?", "code": "What is the parcel number?|How can I follow the parcel?"}),
    ("Yours sincerely, {person}", {"person": "Who signed the letter?|Who wrote the letter?|Who is the letter from?"}),
    ("Dear {person},", {"person": "To whom is the letter written?|Who is addressed?|Who gets the letter?"}),
    ("{person}, {phrase}, {company}", {"person": "", "phrase": "What is {person}'s position?|What does {person} do?|What is {person}'s job?", "company": "Where does {person} work?|For which company does {person} work?"}),
    ("The {word} costs {money} a month ({money2} a year).", {"money": "How much is the {word} a month?|What does the {word} cost per month?", "money2": "How much is the {word} a year?|What does the {word} cost per year?"}),
    ("Bring {listed} with you.", {"listed": "What should I bring?|What must be brought along?"}),
    ("The {word} holds up to {count} people.", {"count": "How many people does the {word} hold?|For how many is the {word}?"}),
    ("Between {clock} and {clock2} the {word} will be without power.", {"clock": "From when is there no power?", "clock2": "Until when is there no power?|When is the power back?"}),
    ("{company} was founded in {year} by {person}.", {"year": "When was {company} founded?|In what year was {company} founded?", "person": "Who founded {company}?"}),
    ("In {year} it had {count} members, today {count2}.", {"year": "In which year were members counted?", "count2": "How many members are there today?|How many members are there now?"}),
    ("On {day}, {person} reported that the {word} was broken.", {"day": "When was the {word} reported?|When was it reported?", "person": "Who reported the {word}?|Who reported that the {word} was broken?"}),
    ("It is about {number} from {place} to {place2}.", {"number": "How far is it from {place} to {place2}?|How far is it?"}),
    ("Take {count} {word} every {span}.", {"count": "How many {word} should be taken?", "span": "How often should {word} be taken?"}),
    ("The best offer came from {company} at {money}.", {"company": "Who made the best offer?|Which company was best?", "money": "How much was the best offer?"}),
    ("{person} (tel. {telephone}) has the keys to the {word}.", {"person": "Who has the keys to the {word}?|Who has the keys?", "telephone": "What is the number of {person}?|How can I call {person}?"}),
    ("You owe us {money}; please pay by {day}.", {"money": "How much do I owe?|How much must be paid?", "day": "By when must I pay?|When do I have to pay?"}),
    ("The fine is {money} for {phrase}.", {"money": "How high is the fine?|How much is the fine?", "phrase": "What is the fine for?|For what is there a fine?"}),
)  # fmt: skip
SLOT = re.compile(r"\{(\w+)\}")
FILLER = (
    "Please keep this for your records.", "We look forward to hearing from you.", "Many thanks.",
    "This is not a bill.", "See the other side.", "Kind regards,", "No action is needed.",
)  # fmt: skip


def said(draft: Draft, words: Words, text: str, number: int) -> str:
    """One saying, its facts noted on line `number` from the end of `text` on; '' if none is left."""
    rng = words.rng
    for template, asks in rng.sample(SAYINGS, 6):
        shared = {question for options in asks.values() for question in options.split("|")}
        if template in draft.used or shared & draft.used - {""}:
            continue
        draft.used |= {template, *shared}
        filled = {slot: _fill(words, slot) for slot in SLOT.findall(template)}
        made = ""
        for part in re.split(r"(\{\w+\})", template):
            slot = part[1:-1]
            if part.startswith("{"):
                if asks.get(slot):
                    ready = tuple(question.format(**filled) for question in asks[slot].split("|"))
                    draft.note(number, len(text + made), filled[slot], asks=ready)
                made += filled[slot]
            else:
                made += part
        return made
    return ""


def _fill(words: Words, slot: str) -> str:
    kind = slot.rstrip("0123456789")
    if kind == "word":
        return words.pseudo()
    return str(words.rng.randint(1900, 2035)) if kind == "year" else words.of(kind)


def letter(draft: Draft, words: Words, count: int) -> None:
    """Sayings of letters, one a line or run together, with what letters have around them."""
    rng = words.rng
    draft.layout = "sentences"
    line, limit = "", rng.choice([0, 0, 150, 300])
    for _ in range(max(2, count)):
        number = len(draft.lines)
        piece = rng.choice(FILLER) if rng.random() < 0.2 else said(draft, words, line, number)
        if not piece:
            break
        line += piece + " "
        if len(line) >= limit or piece[-1] == ",":
            draft.add(line)
            line = ""
    draft.add(line)


def card(draft: Draft, words: Words, count: int) -> None:
    """Everyday fields under the names that documents give them, asked for in a person's words."""
    rng = words.rng
    draft.layout = "card"
    made = familiar(words, count)
    between, shout = rng.choice(BETWEEN), rng.random() < 0.15
    indent = " " * rng.choice([0, 0, 0, 2, 4])
    pad = max(len(name) for name, *_ in made) + rng.randint(1, 5) if rng.random() < 0.4 else 0
    right = rng.choice([0, 0, 0, 0, 30, 40, 56])
    below = rng.random() < 0.1
    for name, kind, value, asks in made:
        shown = name.upper() if shout else name
        names = (name, name.lower()) if len(name) > 3 else (name,)
        left = indent + (shown + between.rstrip() if ":" in between else shown)
        if below:
            draft.add(left)
            draft.add_fact(indent + "  ", value, kind=kind, names=names, asks=asks * 2)
            continue
        left = left.ljust(len(indent) + pad) + " " if pad else indent + shown + between
        if right:
            left = left.ljust(max(len(left), right - len(value)))
        draft.add_fact(left, value, kind=kind, names=names, asks=asks * 2)


def bill(draft: Draft, words: Words, count: int) -> None:
    """Articles, how many, and what they cost."""
    rng = words.rng
    draft.layout = "table"
    mark = rng.choice(["", "", "£", "$", "€", " EUR"])
    names = rng.sample(("Qty", "Description", "Price", "Amount"), 4)[: rng.randint(3, 4)]
    if "Description" not in names:
        names[0] = "Description"
    widths = {"Qty": 5, "Description": rng.randint(20, 28), "Price": 11, "Amount": 12}
    left = rng.random() < 0.5

    def cell(name: str, text: str) -> str:
        return (
            text.ljust(widths[name]) if left or name == "Description" else text.rjust(widths[name])
        )

    top = draft.add(" ".join(cell(name, name) for name in names))
    if rng.random() < 0.6:
        draft.add("-" * min(64, sum(widths[name] + 1 for name in names)))
    for _ in range(count):
        article = words.phrase(1, 2)[: widths["Description"] - 1].strip()
        if article in draft.used:
            continue
        draft.used.add(article)
        each, many = rng.uniform(0.5, 900), rng.randint(1, 60)

        def money(amount: float) -> str:
            text = f"{amount:,.2f}"
            return text + mark if mark.startswith(" ") else mark + text

        values = {
            "Qty": str(many),
            "Description": article,
            "Price": money(each),
            "Amount": money(each * many),
        }
        asks = {
            "Qty": (f"How many {article} are there?", f"How many {article} were ordered?", f"What is the quantity of {article}?"),
            "Description": (),
            "Price": (f"What is the price of {article}?", f"What does one {article} cost?", f"What is the unit price of {article}?"),
            "Amount": (f"What is the amount for {article}?", f"How much is {article} in all?", f"What is the total for {article}?"),
        }  # fmt: skip
        text = ""
        for name in names:
            shown = cell(name, values[name])
            if asks[name]:
                column = len(text) + shown.index(values[name])
                heading = draft.lines[top].index(name)
                draft.note(
                    len(draft.lines),
                    column,
                    values[name],
                    asks=asks[name],
                    title=name,
                    above=(top, heading),
                )
            text += shown + " "
        draft.add(text)
