"""HTTP for those who do not speak Celery: jobs, events, pages, metrics and a page to look at.

Needs the `gateway` extra; importing it needs neither torch, transformers nor pillow. Start it with
`glyph-worker gateway`, or mount `glyph_worker.gateway.app:create_app(settings)` anywhere.
An endpoint is a route in the file of its noun; `app` lists the routers. In reading
order:

app           the routes put together; start here
serve         uvicorn until SIGTERM
deps          what the routes share
tenants       API keys to tenants
jobs          submit, batch, status, result, cancel
submit_body   what a submit sends, as JSON or as a form
schemas       what comes in, with examples
views         what goes out
events        a job's answer as it grows
infer         the article's POST /infer
page_images   pages as the model sees them
webhooks      calls of ended jobs
address       where the gateway may call
body_limit    bodies counted while they stream
problems      errors as problem+json
health        living, ready
metrics       for Prometheus
tracing       a span per request
site          the page at /, the reference at /docs
listing       a tenant's jobs, filtered, page by page
openai/       OpenAI's API over the same jobs
collectors    what /metrics shows
connections   limits, timeouts, room for health checks
connection    one connection's protocol
bodies        a JSON body, bounded before it is built
json_bounds   how much structure it has
files         uploaded files, off the event loop
reader        which model answers, and what it can be asked
drawer        a page, laid out again and drawn
deliverer     calls webhooks, each for itself
signer        their signatures
fetcher       documents by their address
threads       blocking calls beside the event loop
broker_watch  ends a gateway whose broker refuses it
head          HEAD wherever there is GET
version       which release answers
"""
