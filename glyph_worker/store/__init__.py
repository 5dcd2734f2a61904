"""All that is kept in Redis, one noun a file. The map of this folder.

Who calls in: everybody above, through `open.Stores` or one store alone. Nothing leaves but values
and our own errors: redis-py's end in `connection`. `lua/` holds the only code that changes a job's
record; each script opens with its keys, arguments and replies. In reading order:

keys         every key: its type, its server, its time to live; start here
connection   a client for a URL, and errors as ours
open         all stores of a process, opened once
jobs         the truth about a job, fenced by attempt
job_record   its record, read
scripts      Lua by hash, loaded when forgotten
parts        jobs for a job's parts, which wake it
backlog      whose turn it is, how long it will take
streams      partial answers
blobs        documents by digest
cancels      a channel: fast, lossy
workers      who lives
tally        sums over ended jobs
webhooks     who is to be called when
overload     how much denser pages are drawn
layouts      a document's pages in a style (cache)
readings     what segments answered, by content (cache)
page_images  pixels for the encoder (cache)
features     page features as bytes (cache)
breaker      a cache server that may fail, and the rest it is given then
url          what a Redis URL says, read once for everybody
aio          the same server for asyncio
watcher      news of many jobs over one connection
clock        the server's time, for machines that differ
batches      OpenAI batches: their lines, their state
listing      a tenant's jobs, filtered, page by page
outbox       ended jobs of which a Celery application is to be told
uploads      files kept for OpenAI's clients
"""
