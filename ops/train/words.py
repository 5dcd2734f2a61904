"""Random words, names and values. A word of the held-out tenth never meets training."""
# ruff: noqa: SIM905, E501  (word lists read better as text)

from __future__ import annotations

import re
import string
import zlib
from functools import cache
from random import Random

from train.vocabulary import CHARACTERS

ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl gr pl pr qu sh sl st th tr".split()
VOWELS = "a e i o u ai ea ee ie io oo ou".split()
CODAS = "b ck d f g l m n p r s t x nd ng nt rd rk rn rt sh ss st th".split() + [""] * 12

NOUNS = """account action address agent alarm amount api application archive area article asset
attempt audit author backup balance bank base batch bind block board bonus boot branch broker
browser bucket budget buffer build bundle byte cache call camera capacity card carrier case
category cell center certificate channel charge check city class client clock cluster code color
column comment commit company compiler config connection console contact container contract
control cost counter country course cpu credit crew currency customer cycle database date day deadline
debug default delay delivery department deposit depth description destination detail device
digest directory disk discount display distance document domain door driver duration edge edition
editor email encoding endpoint engine entry environment error event exchange expiry export factor
family fee field file filter fleet flight floor folder font format fraction frame frequency fuel
function gateway gender goal grade grid group guest handler hash header heap height heartbeat
history home host hostname hour icon id image import index input instance interest interface
interval inventory invoice issue item job journal key kind label lane language layer layout lease
length lesson level library licence license limit line link list loan location lock log login logo
loop machine mail manager map margin market mask master matter member memory menu merchant message
meter method metric mode model module monitor month mount name network node note notice number
object offer office offset operator option order origin output owner package packet page parameter
parent part partition partner party passenger password patch path patient payment penalty period
fax iban mobile telephone phone pipeline place plan plant platform plugin point policy pool port position postcode power
prefix premium price printer priority process product profile program project property protocol
provider proxy purpose quality quantity query queue quota rank rate ratio reading reason receipt
record recipient reference refund region release remote renewal rent replica report request reserve
resolution resource response result retention retry return revision role room root round route
router rule runtime salary sale sample scale schedule schema scheme scope score screen script
seat secret section sector seed segment sender sensor serial series server service session
setting shard shift shipment shop signal signature site size skill slot socket source space speed
staff stage standard start state station status step stock storage store stream street string
student subject subnet subtotal suite summary supplier supply support surface switch symbol system
table tag target task tax team temperature template tenant term test thread threshold ticket tier
time timeout title token tool topic total trace track trade traffic train transfer transport tree
trigger truck type unit update upload url usage user vacation value variant vat vehicle vendor
version view visit volume voucher wage warehouse warranty water week weight width window worker
workspace year zone""".split()  # fmt: skip
ADJECTIVES = """active actual annual average back backup base billing big blue broken cold common
current customer daily dark default direct dry due early east empty external extra fast final first
free front full global gross heavy high hot idle initial inner internal invoice last late light
local long lower main major max maximum min minimum minor monthly net new next night north old
open outer partial past pending planned previous primary private public quick random raw ready real
red regular remote safe second secondary secure shared short slow small soft south special stable
static stored strict sub temporary third total upper valid virtual warm weekly west wide yearly
""".split()
FIRST = """Ada Alan Alice Amir Ana Anders Anita Arjun Astrid Ben Björn Carla Carlos Chen Clara Daniel
David Diana Dmitri Elena Emil Emma Erik Eva Fatima Felix Finn Frida George Grace Hana Hassan Helen
Hugo Ida Ines Ingrid Ivan Jack Jana Javier Joao José Julia Jun Karin Karl Kofi Lars Laura Lea Leo
Lin Lucas Lucía Maria Mark Marta Max Mei Mia Mila Mohammed Nadia Nina Noah Nora Olga Omar Oscar
Paula Peter Priya Rania Ravi Rosa Ruth Samir Sara Sofia Sven Tara Theo Tom Uma Victor Wei Yara Yusuf
Zoë Zara""".split()
TRADES = """Robotics Foods Motors Systems Logistics Labs Design Energy Media Trading Bank Tools Works
Dental Studio Print Transport Data Insurance Books Garden Travel Paper Steel Marine""".split()
STREETS = "Street Road Avenue Lane Way Close Drive Square Court Boulevard".split()
RANGES = ">= ^ ~ == <".split()
TITLES = "Dr. Prof. Mr Ms Mrs".split()
COMPANY = "Ltd Inc. GmbH LLC plc AG S.A. Corp. Group Partners Sons".split()
MONTHS = (
    "January February March April May June July August September October November December".split()
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
TLDS = "com org net io dev eu de example internal local".split()
FLAGS = (
    "true false yes no on off null none enabled disabled auto info debug error True False".split()
)
KINDS = """number number money date clock host address path code code code phrase phrase phrase person
person company email pseudo pseudo flag street url span port count long place telephone iban""".split()  # fmt: skip
LESSON_KINDS = [
    *KINDS,
    *"listed remark remark capitals capitals version contact money money hours".split(),
]
SUITED = {
    "date": "date deadline expiry day renewal start delivery issue".split(),
    "money": "amount balance bonus cost credit deposit fee loan payment penalty premium price refund "
    "rent salary subtotal tax total vat wage budget discount".split(),
    "person": "author agent contact guest handler manager member owner passenger patient recipient "
    "sender student tenant user customer operator editor".split(),
    "company": "company vendor supplier bank carrier provider agency merchant".split(),
    "host": "host hostname server domain node remote endpoint proxy gateway".split(),
    "path": "path directory file folder archive location root socket log".split(),
    "port": "port".split(),
    "code": "number id code key reference version token account ticket order serial hash".split(),
    "span": "timeout interval period term duration retention delay ttl lease".split(),
    "clock": "time hour clock shift".split(),
    "email": "email mail".split(),
    "number": "size limit capacity weight width height length rate ratio temperature quota speed".split(),
    "count": "count quantity threads retry attempt replica worker level rank score".split(),
    "telephone": "phone fax telephone mobile".split(),
    "iban": "iban account".split(),
    "street": "street".split(),
    "place": "city country region county place station".split(),
    "flag": "debug mode default cache".split(),
    "url": "url source link".split(),
}
UNITS = "kg g km m cm mm ms s min h GB MB kB GiB MiB % V A W kW Hz MHz °C bar rpm l ml".split()
CURRENCY = "EUR USD GBP CHF SEK JPY".split()
SHORTEST = 4  # letters of an invented word: there are too few shorter ones to tell things apart


def held_out(word: str) -> bool:
    """True for the tenth of all words that only the evaluation may use."""
    return zlib.crc32(word.lower().encode()) % 10 == 0


@cache
def sentences() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Real English sentences of Python's own documentation: (for training, held out)."""
    from pydoc_data.topics import topics

    train: list[str] = []
    test: list[str] = []
    for name, text in sorted(topics.items()):
        flat = re.sub(r"\s+", " ", str(text))
        for sentence in re.split(r"(?<=[.:;]) ", flat):
            if 20 <= len(sentence) <= 300 and set(sentence) <= set(CHARACTERS):
                (test if held_out(name) else train).append(sentence)
    return tuple(train), tuple(test)


class Words:
    """A seeded source of words and values; `test` draws from the held-out side."""

    def __init__(self, rng: Random, *, test: bool = False) -> None:
        self.rng = rng
        self.test = test

    def _allowed(self, word: str) -> bool:
        return held_out(word) == self.test

    def pseudo(self, low: int = 1, high: int = 3) -> str:
        rng = self.rng
        while True:
            parts = [
                rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
                for _ in range(rng.randint(low, high))
            ]
            word = "".join(parts)
            if len(word) >= SHORTEST and self._allowed(word):
                return word

    def sentence(self) -> str:
        return self.rng.choice(sentences()[1 if self.test else 0])

    def noun(self) -> str:
        """A word that names a thing: mostly real; in tests half of them invented and unseen."""
        if self.rng.random() < (0.5 if self.test else 0.25):
            return self.pseudo()
        return self.rng.choice(NOUNS)

    def name_words(self) -> list[str]:
        """One to three words that name a field: `invoice number`."""
        rng = self.rng
        pick = rng.random()
        if pick < 0.25:
            return [self.noun()]
        if pick < 0.65:
            return [self.noun(), self.noun()]
        if pick < 0.85:
            return [rng.choice(ADJECTIVES), self.noun()]
        return [rng.choice(ADJECTIVES), self.noun(), self.noun()]

    def person(self) -> str:
        last = self.pseudo(1, 2).capitalize()
        middle = f" {self.rng.choice(string.ascii_uppercase)}." if self.rng.random() < 0.1 else ""
        title = f"{self.rng.choice(TITLES)} " if self.rng.random() < 0.06 else ""
        return f"{title}{self.rng.choice(FIRST)}{middle} {last}"

    def company(self) -> str:
        rng = self.rng
        named = rng.choice(FIRST) if rng.random() < 0.1 else self.pseudo(1, 3).capitalize()
        pick = rng.random()
        if pick < 0.1:
            return f"{named} & {self.pseudo(1, 2).capitalize()} {rng.choice(COMPANY)}"
        if pick < 0.5:
            named = f"{named} {rng.choice(TRADES)}"
        return named if pick > 0.85 else f"{named} {rng.choice(COMPANY)}"

    def digits(self, low: int, high: int) -> str:
        count = self.rng.randint(low, high)
        return "".join(self.rng.choice(string.digits) for _ in range(count))

    def number(self) -> str:
        rng = self.rng
        pick = rng.random()
        if pick < 0.35:
            return str(rng.randint(0, 10 ** rng.randint(1, 6)))
        if pick < 0.5:
            return f"{rng.uniform(0, 10 ** rng.randint(0, 4)):.{rng.randint(1, 3)}f}"
        if pick < 0.6:
            return f"{rng.randint(1000, 9999999):,}"
        if pick < 0.7:
            return f"{rng.randint(1, 100)}%"
        if pick < 0.85:
            return f"{rng.randint(1, 5000)} {rng.choice(UNITS)}"
        return f"{rng.randint(1, 900)}{rng.choice(UNITS)}"

    def money(self) -> str:
        rng = self.rng
        if not self.test and rng.random() < 0.35:
            return self._sum()
        amount = rng.uniform(1, 10 ** rng.randint(1, 6))
        text = rng.choice([f"{amount:,.2f}", f"{amount:.2f}", f"{int(amount)}"])
        pick = rng.random()
        if pick < 0.3:
            return f"{rng.choice('$€£')}{text}"
        if pick < 0.6:
            return f"{text} {rng.choice(CURRENCY)}"
        return f"{rng.choice(CURRENCY)} {text}" if pick < 0.75 else text

    def day(self) -> str:
        """A date without a time."""
        rng = self.rng
        y, m, d = rng.randint(1985, 2035), rng.randint(1, 12), rng.randint(1, 28)
        text: str = rng.choice(
            [
                f"{y}-{m:02d}-{d:02d}", f"{d:02d}/{m:02d}/{y}", f"{d}.{m}.{y}",
                f"{d} {MONTHS[m - 1]} {y}", f"{MONTHS[m - 1]} {d}, {y}",
                f"{d} {MONTHS[m - 1][:3]} {y}", f"{d:02d} {MONTHS[m - 1][:3].upper()} {y}",
            ]
        )  # fmt: skip
        return text

    def date(self) -> str:
        text, pick = self.day(), self.rng.random()
        if pick < 0.05:
            return f"{self.rng.choice(DAYS)}, {text}"
        return f"{text}, {self.clock()}" if pick < 0.1 else text

    def clock(self) -> str:
        rng = self.rng
        text = f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
        return text + (f":{rng.randint(0, 59):02d}" if rng.random() < 0.5 else "")

    def host(self) -> str:
        rng = self.rng
        parts = [self.pseudo(1, 2) for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.3:
            parts[0] += f"-{rng.randint(1, 40)}"
        return ".".join([*parts, rng.choice(TLDS)])

    def address(self) -> str:
        return ".".join(str(self.rng.randint(0, 255)) for _ in range(4))

    def path(self) -> str:
        rng = self.rng
        parts = [
            rng.choice([self.pseudo(1, 2), rng.choice(NOUNS)]) for _ in range(rng.randint(1, 4))
        ]
        ending = rng.choice(["", "", ".conf", ".log", ".txt", ".json", ".py", "/"])
        return rng.choice(["/", "/", "./", "~/", "C:\\"]) + "/".join(parts) + ending

    def code(self) -> str:
        rng = self.rng
        letters = "".join(rng.choice(string.ascii_uppercase) for _ in range(rng.randint(1, 4)))
        return rng.choice(
            [
                f"{letters}-{self.digits(2, 6)}", f"{letters}{self.digits(2, 6)}",
                f"{self.digits(2, 4)}-{self.digits(2, 4)}", f"{letters}/{self.digits(2, 5)}",
                f"#{self.digits(3, 6)}", f"{self.digits(4, 10)}",
                f"v{rng.randint(0, 30)}.{rng.randint(0, 30)}.{rng.randint(0, 99)}",
                f"{rng.randint(0, 30)}.{rng.randint(0, 99)}",
                f"{self.pseudo(1, 2)}{rng.choice(':-')}{rng.randint(0, 30)}.{rng.randint(0, 99)}",
                f"{rng.choice(RANGES)}{rng.randint(0, 30)}.{rng.randint(0, 99)}",
                "".join(rng.choice("0123456789abcdef") for _ in range(rng.randint(4, 16))),
                "".join(rng.choice(string.ascii_letters + string.digits) for _ in range(rng.randint(4, 14))),
            ]
        )  # fmt: skip

    def phrase(self, low: int = 1, high: int = 4) -> str:
        rng = self.rng
        words = [
            rng.choice([self.pseudo(), rng.choice(NOUNS), rng.choice(ADJECTIVES)])
            for _ in range(rng.randint(low, high))
        ]
        text = " ".join(words)
        return rng.choice([text, text, text.capitalize(), text.title()])

    def email(self) -> str:
        return f"{self.pseudo(1, 2)}{self.rng.choice(['', '.' + self.pseudo(1, 2)])}@{self.host()}"

    def street(self) -> str:
        rng = self.rng
        street = f"{rng.randint(1, 400)} {self.pseudo(1, 2).capitalize()} {rng.choice(STREETS)}"
        return f"{street}, {self.pseudo().capitalize()}" if rng.random() < 0.2 else street

    def place(self) -> str:
        named = self.pseudo(1, 3).capitalize()
        if self.rng.random() < 0.15:
            return f"Room {self.rng.randint(1, 99)}, {named}"
        return named

    def telephone(self) -> str:
        area, first, last = self.digits(2, 4), self.digits(3, 4), self.digits(3, 5)
        return self.rng.choice(
            [
                f"+{self.digits(2, 2)} {area} {first} {last}", f"({area}) {first} {last}",
                f"0{area}-{first} {last}", f"{area} {first} {last}", f"+{area} {first}{last}",
            ]
        )  # fmt: skip

    def iban(self) -> str:
        """An account number in groups of four, with and without its country."""
        rng = self.rng
        groups = [self.digits(4, 4) for _ in range(rng.randint(2, 5))]
        if rng.random() < 0.6:
            letters = "".join(rng.choice(string.ascii_uppercase) for _ in range(6))
            groups = [f"{letters[:2]}{self.digits(2, 2)}", letters[2:], *groups]
        return " ".join([*groups, self.digits(2, 2)] if rng.random() < 0.4 else groups)

    # What lessons have beside these, so that the held-out documents stay what they were.

    def surname_first(self) -> str:
        """As lists of people have it."""
        return f"{self.pseudo(1, 2).capitalize()}, {self.rng.choice(FIRST)}"

    def package(self) -> str:
        rng = self.rng
        name = rng.choice(["lib", "", "", "python3-"]) + self.pseudo(1, 2)
        if rng.random() < 0.4:
            name += rng.choice([str(rng.randint(0, 30)), f"-{self.pseudo(1, 1)}", "-dev", "-utils"])
        return name

    def version(self) -> str:
        """Of a package, as distributions number them."""
        rng = self.rng
        text = ".".join(str(rng.randint(0, 40)) for _ in range(rng.randint(2, 4)))
        before = f"{rng.randint(1, 3)}:" if rng.random() < 0.15 else ""
        after = rng.choice(
            [
                "", "", "", f"-{rng.randint(1, 9)}", f"-{rng.randint(1, 9)}+b{rng.randint(1, 5)}",
                f"-{rng.randint(1, 4)}ubuntu{rng.randint(1, 9)}", f"rc{rng.randint(1, 4)}",
                f"~{self.pseudo(1, 1)}{rng.randint(1, 9)}", f"+deb{rng.randint(9, 13)}u1",
                f".post{rng.randint(1, 3)}", f"-beta.{rng.randint(1, 5)}", f".dev{rng.randint(0, 9)}",
            ]
        )  # fmt: skip
        return before + text + after

    def listed(self) -> str:
        """A few things one after the other: a copy must not stop at a comma, bracket or space."""
        rng = self.rng
        between = rng.choice([", ", ", ", ", ", " ", "; ", " / ", " | ", ",", " and "])
        parts = []
        for _ in range(rng.randint(2, 4)):
            part = rng.choice([self.package, self.pseudo, self.noun, self.place, self.count])()
            if rng.random() < 0.25:
                part += f" ({rng.choice(['>=', '<<', '=', '>=', '<'])} {self.version()})"
            parts.append(part)
        text = between.join(parts)
        return f"[{text}]" if rng.random() < 0.06 else text

    def hours(self) -> str:
        """When something is open."""
        days = self.rng.choice(["Mon-Fri ", "Tue to Sat, ", "daily ", "", "Sundays "])
        return f"{days}{self.clock()[:5]}{self.rng.choice(['-', ' - ', ' to ', '–'])}{self.clock()[:5]}"

    def capitals(self) -> str:
        """Words of which some are in capitals, or begin with one: copies must keep them."""
        rng = self.rng
        words = [
            rng.choice([self.pseudo(1, 2), rng.choice(NOUNS)]) for _ in range(rng.randint(1, 4))
        ]
        cases = (str.lower, str.lower, str.capitalize, str.capitalize, str.upper)
        return " ".join(rng.choice(cases)(word) for word in words)

    def contact(self) -> str:
        return f"{self.person()} <{self.email()}>"

    def remark(self) -> str:
        """A value with something in brackets, or something measured, or quoted in the middle."""
        rng = self.rng
        forms = (
            lambda: f"{self.phrase(1, 2)} ({self.phrase(1, 2)})",
            lambda: f"{self.number()} ({self.number()})",
            lambda: f"{self.flag()} (default: {self.flag()})",
            lambda: f"{self.phrase(1, 3)}, {self.phrase(1, 3)}",
            lambda: f"{self.count()} x {self.number()}",
            lambda: f"{self.count()} of {self.count()} ({rng.randint(1, 99)}%)",
            lambda: f"{self.place()}, {self.place()}",
            lambda: f"{self.code()}, {self.day()}",
            lambda: f"{self.clock()} - {self.clock()}",
            lambda: f"{self.day()} to {self.day()}",
            lambda: f"{self.phrase(1, 2)}: {self.phrase(1, 2)}",
            lambda: f"{self.money()} per {self.noun()}",
            lambda: f"approx. {self.number()}",
            lambda: f"{self.phrase(2, 4)}; {self.phrase(1, 3)}",
            lambda: f"{self.street()}, {self.place()} {self.digits(4, 5)}",
            lambda: f"{self.path()} {self.pseudo()}",
            lambda: f"{self.person()} and {self.person()}",
            lambda: f"{self.person()} ({self.noun()})",
            lambda: f"{self.telephone()} (ext. {self.digits(2, 4)})",
        )
        return rng.choice(forms)()

    def _sum(self) -> str:
        """Money as letters and bills have it, pounds and rarer forms first."""
        rng = self.rng
        amount = rng.uniform(1, 10 ** rng.randint(1, 5))
        mark = rng.choice("£££££€$¥")
        forms = (
            f"{mark}{amount:,.2f}", f"{mark}{amount:.2f}", f"{mark}{int(amount):,}", f"{mark}{int(amount)}",
            f"{mark} {amount:.2f}", f"-{mark}{amount:.2f}", f"{amount:.2f} €",
            f"{int(amount) // 1000 + 1}.{int(amount) % 1000:03d},{int(amount * 100) % 100:02d} €",
            f"{int(amount)},{int(amount * 100) % 100:02d} EUR", f"({mark}{amount:,.2f})", f"US${amount:,.2f}",
            f"{int(amount)}p", f"{mark}{int(amount)}.-", f"{mark}{amount / 10:.1f}m", f"kr {int(amount)}",
        )  # fmt: skip
        return rng.choice(forms)

    def log_day(self) -> str:
        rng = self.rng
        y, m, d = rng.randint(1995, 2032), rng.randint(1, 12), rng.randint(1, 28)
        forms = (
            f"{y}-{m:02d}-{d:02d}",
            f"{MONTHS[m - 1][:3]} {d:2d}",
            f"{d:02d}/{MONTHS[m - 1][:3]}/{y}",
        )
        return rng.choice(forms)

    def flag(self) -> str:
        return self.rng.choice(FLAGS)

    def url(self) -> str:
        return f"http{self.rng.choice(['', 's'])}://{self.host()}/{self.pseudo()}"

    def port(self) -> str:
        return str(self.rng.randint(20, 65535))

    def span(self) -> str:
        unit = self.rng.choice(["days", "hours", "months", "weeks", "years", "minutes", "seconds"])
        return f"{self.rng.randint(2, 400)} {unit}"

    def count(self) -> str:
        return str(self.rng.randint(0, 10 ** self.rng.randint(1, 4)))

    def long(self) -> str:
        return self.phrase(4, 8)

    def of(self, kind: str) -> str:
        """A value of a kind: the name of one of the makers above."""
        return str(getattr(self, kind)())

    def value(self, name: list[str] | None = None) -> tuple[str, str]:
        """(kind, text) of a value; one that suits the field's last word more often than not."""
        rng = self.rng
        if name and rng.random() < 0.7:
            for kind, suited in SUITED.items():
                if name[-1] in suited:
                    return kind, self.of(kind)
        kind = rng.choice(KINDS if self.test else LESSON_KINDS)
        return kind, self.of(kind)
