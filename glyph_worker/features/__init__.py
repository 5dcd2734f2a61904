"""Page features: encoded once, kept, reused, and never trusted unchecked. The map of this folder.

cache     FeatureCache.get: memory, then the cluster, else the tower; start here
flight    which page is on its way, who waits for it       (one flight per page and process)
cluster   claims, followers, takeover                      (one encode per page and cluster)
fetch     server → checked → device        publish   tower → server, in the background
encode    the tower in micro-batches       landing   what arrives: kept, handed out, audited
policy    fetch or compute, by medians     guard     a server that fails costs nobody a job
digest    how features are named           wire      features as bytes, and every check on them
tiers     what stays in memory             audit     how far two encodes may be apart
known     render workers: which pages need no pixels      (loads no torch)
upkeep    stats, audit, clear, warm for the CLI
protocol  types · ledger counters · transfer copies · memory, fakes for tests and benchmarks
"""
