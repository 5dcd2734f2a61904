"""Training of the embedded reader; `./ops/train-reader` starts it. Nothing here is in the wheel.

What it reads: vocabulary, configure (the architecture), geometry (the page's grid), words, names,
persons_words, questions; then lessons, one look a function: layouts, tables, clauses, code,
contents, letters, listings, mixed by mixing; document_draft is one being written, corpus has whole
ones.
How it learns: recipe (what is seen when) → sample → draw (pages on the device) → packing →
forward → stages (what is minimised), with ideal_tokens and attention_targets as teachers → run →
log, export. answer asks it while it learns.
"""
