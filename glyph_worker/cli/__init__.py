"""The `glyph-worker` command: a thin shell over all of it.

app           all commands put together; start here (__main__ is for processes of our own)
up            demo, up, gateway: everything on this machine
worker        serve one queue, and say whether somebody does
ask           submit, status, result, cancel, batch (a folder of its own)
jobs          look at jobs, and do them again
render        a document's pages as pictures
cache         look after the page-feature cache
plan          how many workers a load needs
doctor        what is installed, reachable and fitting
model_report  what a checkpoint is, and would cost here
proof         an answer's proof in marks and words
ids           a job's id as people type it
extras        which extra a command needs
show          reading files, and the one place where anything is printed
"""

from glyph_worker.cli.app import main

__all__ = ["main"]
