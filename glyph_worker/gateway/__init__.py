"""HTTP for those who do not speak Celery: jobs, events, pages, metrics and a page to look at.

Needs the `gateway` extra; importing it needs neither torch, transformers nor pillow. Start it with
`glyph-worker gateway`, or mount `glyph_worker.gateway.app:create_app(settings)` anywhere.
An endpoint is a route in the file of its noun; `app` lists the routers. In reading
order:

app          the routes put together; start here
serve        uvicorn until SIGTERM
deps         what the routes share
tenants      API keys to tenants
jobs         submit, batch, status, result, cancel
schemas      what travels, with examples
events       a job's answer as it grows
watcher      many waiting requests, one poll
infer        the article's POST /infer
page_images  pages as the model sees them
webhooks     calls of ended jobs
address      where the gateway may call
uploads      documents as files
pdf          PDF to text, in a child
body_limit   bodies counted while they stream
problems     errors as problem+json
health       living, ready
metrics      for Prometheus
tracing      a span per request
site         the page at /
"""
