"""The engine: questions on documents in, answers out, batched continuously. The map of this folder.

Who calls in: `backends.own` makes one Engine per process; a caller's thread blocks in
`Engine.answer`. What leaves: a SequenceResult, its progress while it grows, and EngineStats.
In reading order:

engine     callers' threads on one side, the one thread that owns the model on the other; start here
core       pools, scheduler and runner, one step at a time, without threads
prepare    the reader as the settings want it
request    a request is admitted as a sequence, or refused with the numbers
sequence   a sequence with its tensors and its caller
scheduled  the scheduler's half: counts only
scheduler  who runs, which tokens come next
slots      who has which place in the batch
prefix     whose keys and values are kept, a tree of pages
blocks     which parts of the pool are free
kv         the pool itself
host_tier  copies of evicted pages in host memory
kv_budget  how large it may be
step_inputs  a plan becomes tensors
runner     tensors become tokens
sampler    logits to tokens
grammar    which tokens keep an answer's form
phases     thought or answer, and what is forced
step       one step; a failed one is retried in parts
pieces     keys cut evenly for decoding rows
dtype_groups  which number format a document runs in
chunk_size  how much of prompts a step takes, by memory
backend    which kernels, cut or not, replayed or not
graphs     decode steps as CUDA graphs
result     how far a sequence is, how it ended
stats      counters and a snapshot
selftest   at load: equal to the library, or do not serve
watchdog   notices a step that hangs
looked_at  where the model looked as it began its answer
"""
