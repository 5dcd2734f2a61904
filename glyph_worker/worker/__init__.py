"""Workers: the only place where the stages meet. The map of this folder.

Who calls in: Celery, through the tasks that `render` and `answer` register, and `cli.worker`. What
leaves: an attempt's one honest end in the job's record. In reading order:

lifecycle      a worker process from start to orderly end
attempt        one try at a job: claim, work, exactly one end; retries are decided here
render         document → pages → page images, then the same id onto the answer queue
long_job       a document beyond the window: one answer of its parts
long_asks      what a part of it is asked; where what it cites stands in the whole
long_pages     the pages and sentences of it that a question is about
long_summaries its parts' summaries, summed up, and kept as a map
lens_run       a question beside the exact text of the pages that the model looked at
long_receipt   what its parts took, in one
parts          a job's questions about parts, as jobs of their own
reach          how much of a document the readers take at once
answer         page features → engine → answer, many jobs at once
answer_run     one job's run in there
page_source    its pages, and pixels where they must be encoded
inference      backend and prover of a process
suspect_gate   a job that killed a worker runs alone
reconcile      publishes again what was lost on its way
reporter       says how jobs and engine are
profile        a trace of a living worker
replay         one stored job again, here
cache_upkeep   what an operator does to the cache
answer_stream  one attempt's text into the job's stream
ending         a worker that ends: announced no longer, soon over
heartbeat      a file that says it lives
style_check    do all workers mean the same style by `auto`
prover         an answer and its document → its proof
"""
