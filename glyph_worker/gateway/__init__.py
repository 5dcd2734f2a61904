"""HTTP for those who do not speak Celery: jobs, events, pages, metrics and a page to look at.

Needs the `gateway` extra; importing it needs neither torch, transformers nor pillow. Start it with
`glyph-worker gateway`, or mount `glyph_worker.gateway.app:create_app(settings)` anywhere; limits on
connections and half requests are the server's, in `serve`.

In reading order: `serve` listens, with `connections` (who may stay, and for how long) · `app` puts
routes and middleware together (`body_limit`, `collectors`, `tracing`) · `context` holds what routes
share · routes: `jobs`, `events`, `infer`, `page_images`, `reader`, `webhooks`, `health`, `metrics`,
`site` · bodies: `bodies`, `json_bounds`, `schemas`, `uploads` · webhooks: `deliverer`, `address`,
`signer` · errors: `problems` · who asks: `tenants`.
"""
