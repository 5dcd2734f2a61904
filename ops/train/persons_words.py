"""Fields that everybody knows: how documents name them and how a person asks for them."""
# ruff: noqa: SIM905, E501  (a table reads better on long lines)

from __future__ import annotations

from train.words import Words

# (what documents write, the kind of value, what people ask); `{t}` is the thing the document is.
KNOWN: tuple[tuple[str, str, str], ...] = (
    ("Due|Due date|Payment due|Pay by|Date due|Payable by|To be paid by", "day", "When is the {t} due?|When must it be paid?|By when do I have to pay?|When is payment due?|What is the due date?|When is it due?|What is the deadline for paying?"),
    ("Total|Total due|Amount due|Grand total|To pay|Balance due|Invoice total", "money", "How much is the {t}?|How much do I have to pay?|How much do I owe?|What does it cost in total?|What is the total amount?|How much is due?|What is the sum?|What do I have to pay?"),
    ("Date|Issued|Date of issue|Dated|Issue date", "day", "When was the {t} issued?|What is the date of the {t}?|When was the {t} written?|What date is on the {t}?|When is the {t} from?|When was it dated?"),
    ("No|No.|Number|Nr|Ref|Reference|Ref. no.|Our ref|ID", "code", "What is the {t} number?|What number does the {t} have?|What is the reference?|Which number do I quote?|Under which number is it filed?|What's the {t} no?"),
    ("Tel|Tel.|Phone|Telephone|Ph|Call us|Hotline|Mobile", "telephone", "What is the phone number?|What number do I call?|How can I call them?|On which number can they be reached?|What's their telephone number?|Which number should I ring?"),
    ("Email|E-mail|Mail|Contact|e-mail address", "email", "What is the email address?|Where do I write to?|How can I reach them by email?|To which address can I send an email?|What's their email?"),
    ("Web|Website|Homepage|URL|Home-page|Internet|www", "url", "What is the website?|Where is it on the web?|What is the homepage?|Which web page do they have?|What is the web address?"),
    ("VAT|VAT 20%|Tax|Sales tax|incl. VAT|Tax amount|MwSt", "money", "How much VAT is there?|How much is the tax?|How much tax was charged?|What is the tax?|How much VAT is charged?"),
    ("Subtotal|Sub-total|Net|Net amount|Goods total|Before tax", "money", "How much is it before tax?|What is the net amount?|How much is it without tax?|What is the subtotal?"),
    ("Shipping|Delivery|Postage|Carriage|Freight|P&P", "money", "How much is the shipping?|What does delivery cost?|How much was charged for postage?|What do I pay for shipping?"),
    ("Discount|Rebate|Less|Reduction|You save", "money", "How much is taken off?|How big is the discount?|How much do I save?|What is the reduction?"),
    ("Deposit|Paid|Prepaid|Amount paid|Received|Already paid", "money", "How much has been paid?|How much was paid already?|What was paid so far?|How much have we received?"),
    ("From|Sender|Sent by|Author|By|Written by|Signed", "person", "Who sent the {t}?|Who wrote it?|Who is it from?|Who is the author?|Who wrote the {t}?|Who is the sender?"),
    ("To|Recipient|Attn|Attention|Addressee|For", "person", "Who is it for?|To whom is the {t} addressed?|Who gets the {t}?|Who is the recipient?|Who is it addressed to?"),
    ("Subject|Re|Topic|Regarding|Concerning|Title", "phrase", "What is it about?|What is the {t} about?|What is the subject?|What is the title?|What is the topic?"),
    ("Customer|Client|Bill to|Sold to|Buyer|Account name", "company", "Who is the customer?|Who bought it?|Who is billed?|Who has to pay?|Who is the client?"),
    ("Supplier|Vendor|Seller|Sold by|Merchant|Company", "company", "Who sold it?|Who is the supplier?|From whom was it bought?|Which company is it?|Who is the seller?"),
    ("Address|Street|Addr|Located at|Premises|Location", "street", "What is the address?|Where are they?|Where is it?|In which street is it?|Where do they live?"),
    ("Town|City|Place|Venue|Where|Site", "place", "Where does it take place?|In which town is it?|Where is it held?|Which city is it in?|Where is it?"),
    ("When|Start|Starts|Begins|Time|Opens|From", "clock", "At what time does it start?|When does it begin?|What time is it?|When does it open?|What time does it start?"),
    ("Ends|Until|End|Closes|Finish|To", "clock", "When does it end?|Until when does it go?|At what time is it over?|When does it close?|What time does it finish?"),
    ("Maintainer|Owner|Responsible|Managed by|Contact person|In charge", "contact", "Who maintains it?|Who is responsible?|Who looks after it?|Who is in charge?|Who owns it?|Whom do I ask?"),
    ("Version|Ver|Release|Rev|Revision|Build", "version", "Which version is it?|What version is this?|What is the version number?|Which release is it?|Which revision is it?"),
    ("License|Licence|Licensed under|Terms|Licence type", "remark", "Under which licence is it?|How is it licensed?|What is the licence?|Which licence does it have?"),
    ("Depends|Requires|Needs|Dependencies|Prerequisites|Requires-Dist", "listed", "What does it depend on?|What does it need?|What is required?|What are the dependencies?|Which packages does it need?"),
    ("Size|Installed-Size|Length|File size|Disk space|Bytes", "number", "How big is it?|How large is the {t}?|How much space does it need?|What is the size?"),
    ("Section|Category|Type|Kind|Class|Group", "noun", "What kind is it?|Which category is it in?|What type is it?|To which group does it belong?"),
    ("Status|State|Progress|Outcome|Result", "flag", "What is the status?|How did it go?|What state is it in?|How is it?|What was the outcome?"),
    ("Priority|Severity|Urgency|Importance|Level", "noun", "How urgent is it?|How important is it?|What priority does it have?|How severe is it?"),
    ("Born|Date of birth|DOB|Birthday|Birth date", "day", "When was the person born?|What is the date of birth?|When is the birthday?|When was she born?|When was he born?"),
    ("Age|Years", "count", "How old is the person?|How old is it?|What is the age?|How old is she?"),
    ("Valid until|Expires|Expiry|Valid thru|Best before|Use by|Expiry date", "day", "How long is it valid?|When does it expire?|Until when can it be used?|When does it run out?|Until when is it good?"),
    ("Valid from|Effective|Start date|Since|Commences|From date", "day", "From when is it valid?|Since when?|When does it take effect?|When did it start?|From which date on?"),
    ("Delivered|Delivery date|Arrives|ETA|Expected|Ship date", "day", "When does it arrive?|When will it be delivered?|When is it expected?|When did it come?"),
    ("Qty|Quantity|Pieces|Count|Units|Pcs", "count", "How many are there?|How many were ordered?|How many pieces?|What quantity?"),
    ("Price|Unit price|Each|Rate|Cost|Fee|Charge", "money", "How much does it cost?|What does one cost?|What is the price?|How expensive is it?|How much is it?"),
    ("IBAN|Account|Account no|A/C|Bank account", "iban", "To which account do I pay?|What is the account number?|Which account?|What is the bank account?"),
    ("Bank|Bank name|Payable at", "company", "Which bank is it?|At which bank is the account?|What is the bank?"),
    ("Sort code|BIC|SWIFT|Routing|Bank code", "code", "What is the sort code?|What is the bank's code?|Which code does the bank have?"),
    ("Payment|Payment method|Paid by|Pay with|Method", "remark", "How was it paid?|How do I pay?|How is it to be paid?|In what way was it paid?"),
    ("Terms|Payment terms|Conditions", "span", "How long do I have to pay?|What are the terms?|How much time is there to pay?"),
    ("Weight|Wt|Mass|Gross weight|Net weight", "number", "How heavy is it?|How much does it weigh?|What is the weight?"),
    ("Height|Length|Width|Depth|Dimensions|Distance", "number", "How long is it?|How high is it?|How wide is it?|What does it measure?|How far is it?"),
    ("Speed|Pace|Frequency|Rate", "number", "How fast is it?|What is the speed?|How quick is it?"),
    ("Temperature|Temp|Oven|Heat", "number", "How hot is it?|How warm is it?|At what temperature?|How hot must it be?"),
    ("Duration|Takes|Time needed|Length|Cooking time|Runtime", "span", "How long does it take?|How long is it?|How much time is needed?|What is the duration?"),
    ("Serves|Seats|Capacity|Max. people|Places|Participants", "count", "For how many people is it?|How many people fit?|How many can take part?|How many seats are there?"),
    ("Doctor|Dr|Physician|Teacher|Instructor|Coach", "person", "Who is the doctor?|Who teaches it?|Who treats the patient?|Who gives it?"),
    ("Patient|Name|Full name|Passenger|Guest|Student|Member", "person", "What is the person called?|Who is it?|What's the name?|Whose {t} is it?|What is the name?"),
    ("Employer|Firm|Organisation|School|Organization", "company", "Where does the person work?|For whom does she work?|Which company is it?|Who is the employer?"),
    ("Position|Job|Role|Occupation|Profession|Job title", "phrase", "What is the person's job?|What does the person do?|What is her job?|What is the role?"),
    ("Salary|Pay|Wage|Income|Remuneration|Gross pay", "money", "How much does the person earn?|What is paid?|How much is the wage?|How much does the job pay?"),
    ("Gate|Platform|Seat|Room|Desk|Table|Track", "code", "Which gate is it?|From which platform does it go?|Which seat do I have?|In which room?|Which room is it?"),
    ("Departs|Departure|Dep|Leaves|Off", "clock", "When does it leave?|At what time does it depart?|What is the departure time?|When do we go?"),
    ("Arrives|Arrival|Arr|In", "clock", "When does it arrive?|At what time are we there?|What is the arrival time?|When do we get there?"),
    ("Origin|From|Source|Departure from|Start", "place", "Where does it come from?|Where does it start?|From where does it leave?|Where is it from?"),
    ("Destination|To|Going to|Deliver to|Arriving at", "place", "Where does it go?|Where is it going?|What is the destination?|Where to?"),
    ("Password|Pass|PIN|Secret|Access code|Key", "code", "What is the password?|How do I log in?|What is the secret?|Which code opens it?"),
    ("User|Username|Login|Account|User name", "pseudo", "What is the user name?|Who logs in?|As whom do I log in?|What is the login?"),
    ("Host|Server|Hostname|Machine|Node", "host", "Which server is it?|On which machine does it run?|What is the host?|Which host is used?"),
    ("Port|Listen|Listening on", "port", "On which port does it listen?|Which port is used?|What port is it?"),
    ("Log|Logfile|Log file|Output|Written to|File", "path", "Where is the log?|Where does it write to?|Which file is it?|In which file is it?|Where is it written?"),
    ("Retries|Attempts|Max retries|Tries", "count", "How often is it tried?|How many attempts are made?|How many times does it retry?"),
    ("Timeout|Wait|Max wait|Interval|Every", "span", "How long does it wait?|How often does it run?|After how long does it give up?|How long until it gives up?"),
    ("Workers|Threads|Processes|Jobs|Parallel", "count", "How many workers are there?|How many run at once?|How many threads are used?"),
    ("Description|Summary|About|Notes|Remarks|Comment", "phrase", "What is it?|What is it for?|What does it do?|What is noted?|How is it described?"),
    ("Colour|Color|Finish|Material|Made of", "phrase", "What colour is it?|What is it made of?|Which colour does it have?"),
    ("Language|Languages|Lang|Spoken|Written in", "noun", "In which language is it?|What language is used?|What is it written in?"),
    ("Cause|Reason|Why|Diagnosis|Error|Because", "phrase", "Why did it happen?|What was the reason?|What is wrong?|What went wrong?|What caused it?"),
    ("Action|Solution|Fix|Treatment|Next step|To do", "phrase", "What should be done?|What was done about it?|What is the solution?|What comes next?|What must I do?"),
    ("Winner|Won by|Champion|Best|First", "person", "Who won?|Who came first?|Who is the winner?"),
    ("Score|Points|Mark|Grade|Final score|Rating", "number", "What was the score?|How many points?|How was it rated?|What is the grade?"),
    ("Publisher|Published by|Press|Editor|Edited by", "company", "Who published it?|Which press is it from?|Who brought it out?"),
    ("Published|Year|Released|First published|Release date|Uploaded", "day", "When was it published?|When did it come out?|When was it released?|Which year is it?"),
    ("ISBN|ISSN|DOI|Barcode|SKU|Part no|Serial|S/N", "code", "What is the serial number?|What is the ISBN?|What is the part number?|Which code is on it?"),
    ("Rent|Monthly rent|Lease|Per month", "money", "How much is the rent?|What do I pay a month?|How much per month?|What does the flat cost?"),
    ("Landlord|Lessor|Agent|Letting agent", "person", "Who lets the flat?|Who is the landlord?|Who rents it out?"),
    ("Tenant|Lessee|Occupant|Renter", "person", "Who lives there?|Who rents it?|Who is the tenant?"),
    ("Witness|Approved|Approved by|Checked by|Reviewed by|Inspector", "person", "Who checked it?|Who approved it?|Who looked at it?|Who was the witness?|Who reviewed it?"),
    ("Opening hours|Hours|Open|Mon-Fri|Weekdays", "hours", "When are they open?|What are the opening hours?|When is it open?|During which hours can I come?"),
    ("Registered|Company no|Registration|Reg. no.|VAT no|Tax ID", "code", "Under which number is the company registered?|What is the company number?|What is the tax number?|What is the registration number?"),
)  # fmt: skip
THINGS = "invoice|bill|letter|order|ticket|contract|report|receipt|message|document|form|statement|note|offer|quote|package|job|booking|policy|claim|case".split(
    "|"
)


def familiar(words: Words, count: int) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """So many fields of everyday life: (name, kind, value, questions); no question twice."""
    rng = words.rng
    thing = rng.choice(THINGS)
    drawn = rng.sample(KNOWN, min(len(KNOWN), count))
    ready = [[ask.replace("{t}", thing) for ask in asks.split("|")] for _, _, asks in drawn]
    asked = [ask for asks in ready for ask in asks]
    made, named = [], set[str]()
    for (names, kind, _), asks in zip(drawn, ready, strict=True):
        name = rng.choice(names.split("|"))
        if name in named:
            continue
        named.add(name)
        own = tuple(ask for ask in asks if asked.count(ask) == 1)
        made.append((name, kind, words.of(kind), own))
    return made


def unknown(words: Words, kinds: set[str]) -> str | None:
    """A person's question for something that a document with values of these kinds has not."""
    _, kind, asks = words.rng.choice(KNOWN)
    if kind in kinds or (kind == "day" and "date" in kinds):
        return None
    return words.rng.choice(asks.split("|")).replace("{t}", words.rng.choice(THINGS))
