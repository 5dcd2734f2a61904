"""Documents beyond the window: what is asked of which part, and one answer of many. No I/O.

Who calls in: `worker.long_job`. In reading order:

cut         a text → segments within a budget, at its own joints
excerpt     passages of a text as one document, and its places back in that text
ranking     which passages a question is about, by BM25
likeliest   which pages, and which sentences of them
lens        pages whose exact text is laid beside the question
summaries   summaries of parts as a text, and what they cite
candidates  the answers of segments → the one that is supported best
"""
