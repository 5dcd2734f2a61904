"""HTTP for those who do not speak Celery: jobs, events, pages, metrics and a page to look at.

Needs the `gateway` extra; importing it needs neither torch, transformers nor pillow. Start it with
`glyph-worker gateway`, or mount `glyph_worker.gateway.app:create_app(settings)` anywhere.
"""
