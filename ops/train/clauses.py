"""Sentences that state facts, and the questions people put to them."""
# ruff: noqa: E501  (a table reads better on long lines)

from __future__ import annotations

import re
from dataclasses import replace

from train.document_draft import Draft
from train.words import Words

# Text with {kind} slots (a digit tells two of a kind apart) and, per slot, questions.
# `{word}` is an invented noun that the question may repeat.
CLAUSES: tuple[tuple[str, dict[str, str]], ...] = (
    ("This agreement is governed by the laws of {place}.", {"place": "Which laws govern this agreement?|What is the governing law?|Whose laws apply?"}),
    ("This Agreement is made on {date} between {company} and {company2}.", {"date": "When was the agreement made?|What is the date of the agreement?", "company": "Who is the first party?|Which company is the first party?", "company2": "Who is the second party?|Which company is the second party?"}),
    ("Payment is due within {span} of the invoice date.", {"span": "When is payment due?|Within how long is payment due?|What is the payment term?"}),
    ("Payment is due within {span}.", {"span": "When is payment due?|Within how long is payment due?|What is the payment term?"}),
    ("Payment is due by {date}.", {"date": "When is payment due?|By when is payment due?|What is the due date?"}),
    ("Either party may terminate with {span} notice.", {"span": "What is the notice period?|How much notice is needed to terminate?"}),
    ("The contract was signed by {person} on {date}.", {"person": "Who signed the contract?|By whom was the contract signed?", "date": "When was the contract signed?|On what date was the contract signed?"}),
    ("It was signed by {person} in {place}.", {"person": "Who signed it?", "place": "Where was it signed?"}),
    ("Invoice {code} was issued on {date} to {company}.", {"code": "What is the invoice number?|Which invoice was issued?", "date": "When was the invoice issued?|What is the invoice date?", "company": "To whom was the invoice issued?|Who received the invoice?"}),
    ("The total amount due is {money}.", {"money": "What is the total amount due?|How much is due?|What is the total?"}),
    ("The total comes to {money}, payable to {company}.", {"money": "What does the total come to?|How much is the total?", "company": "To whom is the total payable?"}),
    ("The meeting starts at {clock} in {place}.", {"clock": "When does the meeting start?|At what time does the meeting start?", "place": "Where is the meeting?"}),
    ("The server listens on port {port}.", {"port": "Which port does the server listen on?|What port does the server use?|What is the server port?"}),
    ("{host} listens on port {port}.", {"port": "Which port does {host} listen on?|What is the port of {host}?"}),
    ("The backup of {word} runs every {span}.", {"span": "How often does the backup of {word} run?"}),
    ("{person} works for {company} in {place}.", {"company": "Who does {person} work for?|Which company does {person} work for?", "place": "Where does {person} work?"}),
    ("{person} was born on {date} in {place}.", {"date": "When was {person} born?", "place": "Where was {person} born?"}),
    ("{person} lives at {street}.", {"street": "Where does {person} live?|What is the address of {person}?"}),
    ("Please contact {person} at {email} for details.", {"person": "Who should be contacted?|Whom should I contact?", "email": "What is the contact email?|At which email can I get details?"}),
    ("Call {person} on {digits_} before {clock}.", {"digits_": "On which number should {person} be called?|What is the phone number of {person}?", "clock": "Before what time should {person} be called?"}),
    ("Copyright (c) {year} {person}", {"year": "What is the copyright year?", "person": "Who holds the copyright?|Who is the copyright holder?"}),
    ("Copyright {year} {company}. All rights reserved.", {"year": "What is the copyright year?", "company": "Who holds the copyright?|Who is the copyright holder?"}),
    ("The licence expires on {date}.", {"date": "When does the licence expire?|What is the expiry date?"}),
    ("The licensee is {company} of {place}.", {"company": "Who is the licensee?", "place": "Where is the licensee from?"}),
    ("The liability of {company} is limited to {money}.", {"money": "What is the liability limited to?|What is the liability limit?", "company": "Whose liability is limited?"}),
    ("The rent is {money} per month.", {"money": "How much is the rent?|What is the rent?|What is the monthly rent?"}),
    ("A deposit of {money} is held by {company}.", {"money": "How much is the deposit?|What is the deposit?", "company": "Who holds the deposit?"}),
    ("A late fee of {money} applies after {span}.", {"money": "How much is the late fee?|What is the late fee?", "span": "After how long does a late fee apply?"}),
    ("The {word} weighs {number}.", {"number": "How much does the {word} weigh?|What is the weight of the {word}?"}),
    ("The {word} costs {money}.", {"money": "How much does the {word} cost?|What does the {word} cost?|What is the price of the {word}?"}),
    ("The {word} opens at {clock} and closes at {clock2}.", {"clock": "When does the {word} open?", "clock2": "When does the {word} close?"}),
    ("The {word} was delivered on {date}.", {"date": "When was the {word} delivered?|What is the delivery date of the {word}?"}),
    ("The {word} is stored in {path}.", {"path": "Where is the {word} stored?"}),
    ("The {word} is owned by {person}.", {"person": "Who owns the {word}?|Who is the owner of the {word}?"}),
    ("The {word} failed with code {code}.", {"code": "With which code did the {word} fail?|What code did the {word} fail with?"}),
    ("The password of the {word} is {code}.", {"code": "What is the password of the {word}?|What is the {word} password?"}),
    ("The capital of {word} is {place}.", {"place": "What is the capital of {word}?"}),
    ("The order was shipped from {place} on {date} with {company}.", {"place": "Where was the order shipped from?", "date": "When was the order shipped?", "company": "Who shipped the order?|Which carrier shipped the order?"}),
    ("Order {code} contains {count} items.", {"count": "How many items does order {code} contain?|How many items are in the order?", "code": "What is the order number?"}),
    ("The flight to {place} leaves at {clock} from gate {code}.", {"place": "Where does the flight go?", "clock": "When does the flight leave?", "code": "From which gate does the flight leave?"}),
    ("The password must be changed every {span}.", {"span": "How often must the password be changed?"}),
    ("The warranty lasts {span}.", {"span": "How long does the warranty last?|How long is the warranty?"}),
    ("This policy takes effect on {date}.", {"date": "When does the policy take effect?|What is the effective date?"}),
    ("The term of this lease is {span}, beginning {date}.", {"span": "What is the term of the lease?|How long is the lease?", "date": "When does the lease begin?"}),
    ("{company} shall deliver the goods to {street}.", {"company": "Who shall deliver the goods?", "street": "Where shall the goods be delivered?"}),
    ("Disputes are settled by the courts of {place}.", {"place": "Which courts settle disputes?|Where are disputes settled?"}),
    ("Connection to {address} timed out after {span}.", {"address": "Which address timed out?|Which connection timed out?", "span": "After how long did the connection time out?"}),
    ("Version {code} was released on {date}.", {"code": "Which version was released?", "date": "When was version {code} released?"}),
    ("The interest rate is {number} per year.", {"number": "What is the interest rate?"}),
    ("The seller is {company}, represented by {person}.", {"company": "Who is the seller?", "person": "Who represents the seller?|By whom is the seller represented?"}),
    ("The buyer is {company}, {street}.", {"company": "Who is the buyer?", "street": "What is the address of the buyer?|What is the buyer's address?"}),
    ("{person} reported that the {word} is broken.", {"person": "Who reported that the {word} is broken?|Who reported the {word}?"}),
    ("{person} paid {money} for the {word}.", {"person": "Who paid for the {word}?", "money": "How much did {person} pay?|How much was paid for the {word}?"}),
    ("We met {person} at the {word} on {date}.", {"person": "Who did we meet?|Whom did we meet at the {word}?", "date": "When did we meet {person}?"}),
    ("{person} is the head of {word}.", {"person": "Who is the head of {word}?|Who heads {word}?"}),
    ("{person} was appointed director of {company} on {date}.", {"person": "Who was appointed director?|Who is the director of {company}?", "date": "When was {person} appointed?|When was the director appointed?"}),
    ("{company} was founded in {year} by {person}.", {"year": "When was {company} founded?|In which year was {company} founded?", "person": "Who founded {company}?|Who is the founder of {company}?"}),
    ("{company} employs {count} people in {place}.", {"count": "How many people does {company} employ?|How many employees does {company} have?", "place": "Where does {company} employ people?"}),
    ("The next review is planned for {date}.", {"date": "When is the next review?|When is the next review planned?|What is the date of the next review?"}),
    ("The {word} must be returned by {date}.", {"date": "By when must the {word} be returned?|When must the {word} be returned?"}),
    ("Tickets cost {money} for adults and {money2} for children.", {"money": "How much do tickets cost for adults?|What do adults pay?|What is the price for adults?", "money2": "How much do tickets cost for children?|What do children pay?|What is the price for children?"}),
    ("Breakfast is served from {clock} to {clock2}.", {"clock": "From when is breakfast served?|When does breakfast begin?", "clock2": "Until when is breakfast served?|When does breakfast end?"}),
    ("The office is open from {clock} until {clock2}.", {"clock": "When does the office open?|From when is the office open?", "clock2": "When does the office close?|Until when is the office open?"}),
    ("Dear {person},", {"person": "To whom is the letter addressed?|Who is the letter to?"}),
    ("Signed: {person}, {place}, {date}", {"person": "Who signed?|Who signed the document?", "place": "Where was the document signed?", "date": "When was the document signed?|On what date was it signed?"}),
    ("Yours sincerely, {person}", {"person": "Who wrote the letter?|Who signed the letter?"}),
    ("The parcel weighs {number} and was sent to {place}.", {"number": "How much does the parcel weigh?|What is the weight of the parcel?", "place": "Where was the parcel sent?|To which place was the parcel sent?"}),
    ("Your customer number is {code}, your adviser is {person}.", {"code": "What is the customer number?|What is my customer number?", "person": "Who is the adviser?|Who is my adviser?"}),
    ("Reservation {code} for {person}, {count} guests, arrival {date}.", {"code": "What is the reservation number?|Which reservation is it?", "person": "For whom is the reservation?|Who made the reservation?", "count": "How many guests are there?|How many guests?", "date": "When is the arrival?|What is the arrival date?"}),
    ("Train {code} to {place} departs at {clock} from platform {count}.", {"code": "Which train goes to {place}?", "place": "Where does the train go?|Where does train {code} go?", "clock": "When does the train depart?|When does train {code} depart?", "count": "From which platform does the train depart?|Which platform?"}),
    ("The {word} was repaired by {company} for {money}.", {"company": "Who repaired the {word}?|Which company repaired the {word}?", "money": "How much did the repair cost?|For how much was the {word} repaired?"}),
    ("The {word} is made in {place} and sold by {company}.", {"place": "Where is the {word} made?", "company": "Who sells the {word}?|Which company sells the {word}?"}),
    ("The fine for late {word} is {money}.", {"money": "How much is the fine?|What is the fine for late {word}?"}),
    ("Interest of {number} is charged after {span}.", {"number": "How much interest is charged?|What interest is charged?", "span": "After how long is interest charged?"}),
    ("The guarantee ends on {date}.", {"date": "When does the guarantee end?|When is the end of the guarantee?"}),
    ("The tenant is {person}, the landlord is {company}.", {"person": "Who is the tenant?", "company": "Who is the landlord?"}),
    ("The flat has {count} rooms and an area of {number}.", {"count": "How many rooms does the flat have?|How many rooms?", "number": "What is the area of the flat?|How big is the flat?"}),
    ("The project started on {date} and ends on {date2}.", {"date": "When did the project start?|When does the project begin?", "date2": "When does the project end?|What is the end date of the project?"}),
    ("The budget of the project is {money}.", {"money": "What is the budget?|How much is the budget?|What is the budget of the project?"}),
    ("Sales rose by {number} to {money}.", {"number": "By how much did sales rise?", "money": "To what did sales rise?|How high are sales?"}),
    ("The board approved {money} for the {word}.", {"money": "How much did the board approve?|How much was approved for the {word}?"}),
    ("Present: {person}, {person2}. Absent: {person3}.", {"person3": "Who was absent?|Who is absent?"}),
    ("{person} takes the minutes.", {"person": "Who takes the minutes?"}),
    ("{person} will send the {word} by {date}.", {"person": "Who will send the {word}?", "date": "By when will {person} send the {word}?|When will the {word} be sent?"}),
    ("{person} moved from {place} to {place2} in {year}.", {"place": "Where did {person} move from?", "place2": "Where did {person} move to?", "year": "When did {person} move?|In which year did {person} move?"}),
    ("The patient, {person}, takes {number} of {word} every {span}.", {"person": "Who is the patient?", "number": "How much {word} does the patient take?", "span": "How often does the patient take {word}?"}),
    ("Blood pressure was {code} at {clock}.", {"code": "What was the blood pressure?", "clock": "When was the blood pressure taken?"}),
    ("Set {word} to {count} before the first start.", {"count": "What should {word} be set to?|To what is {word} set?"}),
    ("The default value of {word} is {count}.", {"count": "What is the default value of {word}?|What is the default of {word}?"}),
    ("Requests to {host} are limited to {count} per minute.", {"count": "What is the limit of requests?|How many requests per minute are allowed?", "host": "Which host is limited?"}),
    ("The certificate of {host} expires on {date}.", {"date": "When does the certificate expire?|When does the certificate of {host} expire?", "host": "Whose certificate expires?"}),
    ("Logs are kept for {span} in {path}.", {"span": "How long are logs kept?", "path": "Where are logs kept?"}),
    ("The cluster runs {count} nodes in {place}.", {"count": "How many nodes does the cluster run?|How many nodes?", "place": "Where does the cluster run?"}),
    ("Incident {code} was closed by {person} after {span}.", {"code": "Which incident was closed?|What is the incident number?", "person": "Who closed the incident?", "span": "After how long was the incident closed?"}),
    ("The release manager is {person}; the release is {code}.", {"person": "Who is the release manager?", "code": "What is the release?|Which release is it?"}),
    ("To reach support, write to {email} or call {digits_}.", {"email": "What is the email of support?|Where should I write to reach support?", "digits_": "What is the phone number of support?|Which number should I call?"}),
    ("Donations go to account {iban} at {company}.", {"iban": "What is the account for donations?|To which account do donations go?", "company": "At which bank is the account?"}),
    ("The author of {word} is {person}, the publisher is {company}.", {"person": "Who is the author?|Who is the author of {word}?|Who wrote {word}?", "company": "Who is the publisher?|Who published {word}?"}),
    ("Chapter {count} begins on page {port}.", {"port": "On which page does chapter {count} begin?"}),
    ("{person} scored {count} points and {person2} scored {count2}.", {"count": "How many points did {person} score?", "count2": "How many points did {person2} score?"}),
    ("The winner is {person} with {number}.", {"person": "Who is the winner?|Who won?", "number": "With how much did {person} win?"}),
    ("The temperature at {place} was {number} at {clock}.", {"number": "What was the temperature?|What was the temperature at {place}?", "place": "Where was the temperature measured?", "clock": "When was the temperature measured?"}),
    ("The {word} is {number} long and {number2} wide.", {"number": "How long is the {word}?", "number2": "How wide is the {word}?"}),
    ("Deliveries to {place} take {span} and cost {money}.", {"span": "How long do deliveries to {place} take?|How long does a delivery take?", "money": "How much do deliveries to {place} cost?|What does a delivery cost?"}),
    ("The claim must be filed within {span} at {street}.", {"span": "Within how long must the claim be filed?", "street": "Where must the claim be filed?"}),
    ("{person} (the \"Seller\") sells the {word} to {person2} (the \"Buyer\").", {"person": "Who is the seller?|Who sells the {word}?", "person2": "Who is the buyer?|Who buys the {word}?"}),
    ("This contract ends on {date} unless renewed for {span}.", {"date": "When does the contract end?|What is the end of the contract?", "span": "For how long can the contract be renewed?"}),
    ("The deadline for {word} is {date}.", {"date": "When is the deadline for {word}?|What is the deadline?|When is the deadline?"}),
    ("The {word} is located at {street}.", {"street": "Where is the {word} located?|What is the address of the {word}?|Where is the {word}?"}),
    ("The {word} is managed by {person} of {company}.", {"person": "Who manages the {word}?|Who is the manager of the {word}?", "company": "For which company is the {word} managed?"}),
    ("The {word} runs version {code} on {host}.", {"code": "Which version does the {word} run?|What version of the {word} is running?", "host": "On which host does the {word} run?|Where does the {word} run?"}),
    ("{person} joined {company} in {year} as head of {word}.", {"person": "Who joined {company}?|Who is the head of {word}?", "company": "Which company did {person} join?", "year": "When did {person} join {company}?|In which year did {person} join?"}),
    ("The invoice was paid by {person} on {date}.", {"person": "Who paid the invoice?|By whom was the invoice paid?", "date": "When was the invoice paid?|On what date was the invoice paid?"}),
    ("The insurance covers damage up to {money}.", {"money": "How much does the insurance cover?|Up to how much is damage covered?"}),
    ("The key is kept by {person} at {street}.", {"person": "Who keeps the key?|Who has the key?", "street": "Where is the key kept?|Where is the key?"}),
    ("The salary is {money} per year, paid from {date}.", {"money": "What is the salary?|How much is the salary?", "date": "From when is the salary paid?"}),
    ("The employee starts on {date} with a trial period of {span}.", {"date": "When does the employee start?|What is the start date of the employee?", "span": "What is the trial period?|How long is the trial period?"}),
    ("The job runs every {span} and writes to {path}.", {"span": "How often does the job run?", "path": "Where does the job write to?|To which path does the job write?"}),
    ("Backups are written to {path} on {host}.", {"path": "Where are backups written to?|To which path are backups written?", "host": "On which host are backups?"}),
    ("The service {word} restarts after {span}.", {"span": "After how long does {word} restart?|After how long does the service {word} restart?"}),
    ("The {word} is sold for {money} in {place}.", {"money": "For how much is the {word} sold?|What is the price of the {word}?", "place": "Where is the {word} sold?"}),
    ("Room {port} is reserved for {person} until {date}.", {"port": "Which room is reserved for {person}?|Which room is reserved?", "person": "For whom is room {port} reserved?", "date": "Until when is room {port} reserved?|Until when is the room reserved?"}),
    ("{person} ordered {count} copies of {word} for {money}.", {"person": "Who ordered copies of {word}?|Who ordered {word}?", "count": "How many copies of {word} were ordered?|How many copies did {person} order?", "money": "For how much were the copies ordered?"}),
    ("The concert takes place on {date} in {place}.", {"date": "When does the concert take place?|When is the concert?", "place": "Where does the concert take place?|Where is the concert?"}),
    ("The course is taught by {person} and costs {money}.", {"person": "Who teaches the course?|By whom is the course taught?", "money": "How much does the course cost?|What does the course cost?"}),
    ("The {word} was built in {year} and is {number} high.", {"year": "When was the {word} built?|In which year was the {word} built?", "number": "How high is the {word}?"}),
    ("{company} sued {company2} for {money}.", {"company": "Who sued {company2}?", "company2": "Who was sued?|Whom did {company} sue?", "money": "For how much was {company2} sued?"}),
    ("The meeting was moved from {clock} to {clock2}.", {"clock": "From what time was the meeting moved?", "clock2": "To what time was the meeting moved?|To when was the meeting moved?"}),
    ("{person} can be reached at {email}.", {"email": "How can {person} be reached?|What is the email of {person}?|What is {person}'s email?"}),
    ("My phone number is {digits_}.", {"digits_": "What is my phone number?|What is the phone number?"}),
    ("The {word} needs {number} of memory and {count} cores.", {"number": "How much memory does the {word} need?", "count": "How many cores does the {word} need?"}),
    ("The test failed {count} times on {host}.", {"count": "How often did the test fail?|How many times did the test fail?", "host": "On which host did the test fail?|Where did the test fail?"}),
    ("The loan of {money} is repaid over {span} at {number}.", {"money": "How much is the loan?|What is the amount of the loan?", "span": "Over how long is the loan repaid?", "number": "At what rate is the loan repaid?"}),
    ("The distance from {place} to {place2} is {number}.", {"number": "What is the distance from {place} to {place2}?|How far is it from {place} to {place2}?"}),
    ("{place} has {count} inhabitants.", {"count": "How many inhabitants does {place} have?|How many people live in {place}?"}),
    ("The prize of {money} goes to {person}.", {"money": "How much is the prize?|What is the prize?", "person": "Who gets the prize?|To whom does the prize go?"}),
    ("The contract number is {code}, the customer is {company}.", {"code": "What is the contract number?|What is the number of the contract?", "company": "Who is the customer?"}),
    ("Port {port} is used by {word}.", {"port": "Which port is used by {word}?|Which port does {word} use?|What is the port of {word}?", "word": "Who uses port {port}?|What uses port {port}?"}),
    ("Questions go to {person}, {email}.", {"person": "To whom do questions go?", "email": "To which email do questions go?"}),
    ("{person} is the author of {word}, published in {year}.", {"person": "Who is the author of {word}?|Who wrote {word}?", "year": "When was {word} published?|In which year was {word} published?"}),
    ("The train from {place} arrives at {clock}.", {"place": "Where does the train come from?", "clock": "When does the train arrive?|At what time does the train from {place} arrive?"}),
    ("The repair took {span} and cost {money}.", {"span": "How long did the repair take?", "money": "How much did the repair cost?|What did the repair cost?"}),
    ("Please pay {money} to {iban} by {date}.", {"money": "How much should be paid?|How much must I pay?", "iban": "To which account should I pay?|What is the account?", "date": "By when should I pay?|By what date must I pay?"}),
    ("The file {path} is owned by {word} and has {number}.", {"path": "Which file is owned by {word}?", "word": "Who owns the file {path}?|Who owns the file?", "number": "How big is the file?"}),
    ("The alarm {code} was raised at {clock} by {host}.", {"code": "Which alarm was raised?|What alarm was raised?", "clock": "When was the alarm raised?", "host": "Who raised the alarm?|Which host raised the alarm?"}),
)  # fmt: skip
GENERAL = (
    "The {n} is {v}.", "The {n} is {v}.", "Our {n} is {v}.", "The {n} was {v}.", "Its {n} is {v}.",
    "The {n} has been set to {v}.", "Set the {n} to {v}.", "Note that the {n} is now {v}.",
    "The {n} will be {v}.", "Use {v} as the {n}.", "The current {n} is {v}.", "Your {n}: {v}.",
    "The {n} remains {v}.", "The {n} amounts to {v}.", "We chose {v} as the {n}.", "{v} is the {n}.",
    "The {n} went from {o} to {v}.", "With a {n} of {v} we are content.", "The {n}, {v}, was checked.",
    "The {n} ({v}) is stated above.", "Please note the {n}: {v}.", "As {n} take {v}.",
    "The {n} is {v}, as agreed.", "The {n} should be {v} and not {o}.", "No {n} but {v} is allowed.",
    "For the {n} we use {v}.", "A {n} of {v} applies.", "The {n} is set to {v} by default.",
    "The {n} was changed from {o} to {v}.", "Remember that {v} is the {n}.", "The {n} equals {v}.",
    "The {n} must not exceed {v}.", "The {n}, which is {v}, must be kept.", "It has a {n} of {v}.",
    "At present the {n} is {v}.", "We agreed on {v} as the {n}.", "The {n} is still {v}.",
    "The {n} stays at {v}.", "You will need the {n} {v}.", "The {n} is called {v}.",
    "As of today the {n} is {v}.", "There is a {n} of {v}.", "The {n} has risen to {v}.",
)  # fmt: skip
OF = (
    "The {n} of {r} is {v}.", "The {n} of {r} was {v}.", "{r} has {n} {v}.", "For {r}, the {n} is {v}.",
    "The {n} of the {r} is {v}.", "In {r} the {n} is {v}.", "{r}'s {n} is {v}.", "{r} has a {n} of {v}.",
    "{v} is the {n} of {r}.", "At {r} the {n} is {v}.", "The {n} for {r}: {v}.", "{r}: {n} {v}.",
    "The {n} at {r} amounts to {v}.", "{r} reports a {n} of {v}.",
    "{r} has {v} as its {n}.", "{r} uses {n} {v}.", "The {n} of {r} has been changed to {v}.",
    "The {n} of {r} is now {v}, not {o}.", "{v} is used by {r} as {n}.", "Use the {n} {v} for {r}.",
    "On {r}, the {n} is set to {v}.", "The {n} that {r} uses is {v}.", "{r} runs with {n} {v}.",
)  # fmt: skip
MENTIONS = (
    "Please quote the {n} with your payment.", "Always state the {n} when you call.",
    "Changes to the {n} must be made in writing.", "The {n} was checked before sending.",
    "See the {n} above.", "The {n} may change without notice.", "Ask us if the {n} is missing.",
    "Without the {n} we cannot help you.", "This replaces the {n} of last year.",
    "If the {n} is wrong, write to us.", "We confirm the {n} by letter.", "Write down the {n} now.",
    "Any question about the {n} is answered by the office.", "Do not share the {n} with anyone.",
    "Quote {n} in all letters.", "# the {n} is read at start", "Check {n} twice.", "{n} (see below)",
    "The {n} is on the first page.", "Keep the {n} in a safe place.", "Who changed the {n}?",
    "We will send you the {n} by post.", "Thank you for the {n}.", "What the {n} means is said below.",
)  # fmt: skip
SLOT = re.compile(r"\{(\w+)\}")


def _fill(words: Words, kind: str) -> str:
    kind = kind.rstrip("0123456789")
    if kind == "word":
        return words.pseudo()
    if kind == "year":
        return str(words.rng.randint(1980, 2030))
    if kind == "digits_":
        return words.telephone()
    return words.of(kind)


def _known(words: Words, draft: Draft) -> str | None:
    """One of the clauses above, each at most once a document."""
    free = [clause for clause in CLAUSES if clause[0] not in draft.used]
    if not free:
        return None
    template, asks = words.rng.choice(free)
    shared = {question for options in asks.values() for question in options.split("|")}
    if shared & draft.used:
        return None
    draft.used |= {template, *shared}
    filled = {slot: _fill(words, slot) for slot in SLOT.findall(template)}
    text, number = "", len(draft.lines)
    for part in re.split(r"(\{\w+\})", template):
        slot = part[1:-1]
        if part.startswith("{") and slot in filled:
            if slot in asks:
                ready = tuple(question.format(**filled) for question in asks[slot].split("|"))
                draft.note(number, len(text), filled[slot], asks=ready)
            text += filled[slot]
        else:
            text += part
    return text


def _general(words: Words, draft: Draft) -> str:
    rng = words.rng
    name = words.name_words()
    kind, value = words.value(name)
    plain = " ".join(name)
    if rng.random() < 0.35:
        row = rng.choice([words.pseudo, words.host, words.person, words.noun])()
        template = rng.choice(OF)
        names: tuple[str, ...] = (
            f"{plain} of {row}",
            f"{row} {plain}",
            f"{plain} of the {row}",
            f"{plain} for {row}",
        )
    else:
        row, template, names = "", rng.choice(GENERAL), (plain,)
    text = template.replace("{n}", plain).replace("{r}", row)
    text = text.replace("{o}", words.of(kind))
    column = text.index("{v}")
    draft.note(len(draft.lines), column, value, kind=kind, names=names)
    return text.replace("{v}", value)


def mention(draft: Draft, words: Words, number: int) -> None:
    """A sentence before line `number` that names a field without its value, as letters do."""
    named = [fact.names for fact in draft.facts if fact.names]
    if named:
        name = words.rng.choice(words.rng.choice(named)[:2])
        draft.insert(number, words.rng.choice(MENTIONS).format(n=name))


def sentences(draft: Draft, words: Words, count: int) -> None:
    """Fact sentences, alone on their lines or run together into a paragraph with filler."""
    rng = words.rng
    draft.layout = "sentences"
    numbered = rng.random() < 0.2
    for index in range(max(1, count // 2)):
        opening = f"{index + 1}. " if numbered else ""
        if numbered and rng.random() < 0.5:
            opening += f"{words.noun().capitalize()}. "
        if rng.random() < 0.5:
            paragraph(draft, words, opening, num_sentences=1, known=0.6, fact=1.0)
        else:
            paragraph(draft, words, opening, num_sentences=rng.randint(2, 4), known=0.35, fact=0.65)


def paragraph(
    draft: Draft, words: Words, opening: str, *, num_sentences: int, known: float, fact: float
) -> None:
    """Sentences on one source line: a share of them known clauses, a share (those included) facts."""
    number, text = len(draft.lines), opening
    for _ in range(num_sentences):
        already = len(draft.facts)
        pick = words.rng.random()
        piece = _known(words, draft) if pick < known else None
        if piece is None:
            piece = _general(words, draft) if pick < fact else words.sentence()[:100]
        for index in range(already, len(draft.facts)):
            made = draft.facts[index]
            draft.facts[index] = replace(made, spot=(number, made.spot[1] + len(text)))
        text += piece + " "
    draft.add(text)
