"""Page features: encoded once, kept, reused, and never trusted unchecked. The map of this folder.

Who calls in: backends (`FeatureCache.get`), and render workers (`known_pages`).
What leaves: features in device memory, each page as it arrives. In reading order:

cache         FeatureCache.get: memory, then the cluster, else the tower; start here
feature_call  one `get` under way
inflight      which page is on its way, who waits for it
claims        one encode per page and cluster: claims, followers, takeover
fetch         server → checked → device
publish       tower → server, in the background
encode        the tower in micro-batches
arrivals      what arrives: kept, handed out, audited
break_even    fetch or compute, by medians
memory_tier   which stay in memory
digest        how features are named
wire          features as bytes, and every check on them
audit         how far two encodes may differ
transfer      between device and host memory
known_pages   which pages need no pixels
maintenance   stats, audit, clear, warm for the CLI
types         what is asked of others
counters      what happened, counted
"""
