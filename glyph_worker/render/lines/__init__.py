"""Text to drawn lines.

normalize → spelling → measure → wrap → typeset; block_lines is the quick way for plain blocks,
paragraphs the reference's way of joining source lines. Where a style has a form: forms says which
lines belong together, set_runs sets them (run_on puts marks between, set_tables lines columns up).
line is what comes out.
"""
