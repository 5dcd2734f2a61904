"""Who answers: our own engine, vLLM in this process, or another server. The map of this folder.

Who calls in: the answer stage, through `choose.start_backend`; nothing above this folder knows
which it has. What leaves: an Answered, progress while it grows, and numbers for dashboards. Queue,
records, pages, evidence and receipts are alike for all of them. In reading order:

backend        what every backend does: the protocol; start here
choose         GLYPH_BACKEND becomes a backend
own            our engine and the feature cache beside it
vllm           vLLM's AsyncLLM, fed with page features from our cache
remote         an OpenAI-style server, asked over HTTP with pages as pictures (remote_request: what
               is asked, remote_stream: what comes)
outside        what the latter two have in common
loop           one event loop in a thread, for them
asked          a question under way in one of them
sums           what they count
vllm_fits      would vLLM compute what the checkpoint says? Else refuse
vllm_plugin    what vLLM lacks to take GLM's page features, loaded in its processes
vllm_features  for any `vllm serve`: our page features as its encoder cache (vllm_shelf: what it
               holds of them)
"""
