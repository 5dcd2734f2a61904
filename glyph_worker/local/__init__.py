"""Everything on one machine, as processes that end with us. The map of this folder.

Who calls in: `glyph-worker up` and `demo`, the chaos kit, benchmarks and tests.

process        the one supervisor: start, start again, stop in order
server         a Redis-compatible server of our own
service        server and workers
side_services  gateway and Flower beside them
demo           two documents, asked and shown
proposed       what a file of yours may be asked, by its own fields
folder_lock    one owner per data folder
"""
