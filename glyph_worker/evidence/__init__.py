"""Answer and document side by side: where the answer stands, and whether its literals are there.

fold       one form for strings that differ in spacing, case, hyphens, forms of letters
index      a document made ready to be searched: exact, folded, as eyes may confuse it
align      a part of an answer → its places: exact, normalized, close
literals   which numbers, dates, amounts, codes, URLs, addresses and names an answer has
lookup     whether the document has a literal, also in another usual spelling
confusions what eyes may have read in place of what stands there
nearness   of several places, the one nearest to the question's words
gaze       of several places, the one that the model looked at
boxes      places → pages and pixels
sheets     places → the PDF's page, or the picture, that was brought
original   places of a text in normal form → those of the text as it was submitted
sources    which of several documents a place is in
snap       a copy that slipped → its place's own text
found      whether an answer says that the document does not have it
confidence probabilities of tokens → how likely the answer is right
guard      all of it, for one answer

Knows neither queue nor model. Everything is bounded: an answer of 8,000 tokens and a document of
one repeated line end in milliseconds, with what was not looked at said.
"""
