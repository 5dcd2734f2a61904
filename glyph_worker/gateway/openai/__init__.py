"""OpenAI's API over our jobs, for clients that people already have. The map of this folder.

Everything that a reply says is in job records, files and batches on the broker: any gateway answers
for any other, before and after a restart. Our own fields stand in one named `glyph`.

errors           our problems in OpenAI's shape; what a client may try again
parsing          JSON bodies, bounded; what is not supported is refused by name
requests         the bodies of chat, responses and batches
forms            response_format and reasoning: which options they become
turns            messages → one document and one question
turn_parts       one part of a message: its text, or the file it brings
asking           a request becomes a job, and the wait for its end
growth           a job's text as it grows, the same on every gateway
usage            receipts as usage, answers as the field `glyph`
models           GET /v1/models
chat             POST /v1/chat/completions
responses        POST /v1/responses: background, poll, cancel, resume
response_events  a response's numbered events
uploads          /v1/files
batches          /v1/batches
batch_lines      one line of a batch: its job, and its line in the output
batch_runner     moves batches on, whichever gateway took them in
unsupported      the rest of OpenAI's paths, refused by name
"""
