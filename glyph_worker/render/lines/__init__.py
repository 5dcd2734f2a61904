"""Text to drawn lines.

normalize → spelling → measure → wrap → typeset; block_lines is the quick way for plain blocks,
paragraphs the reference's way of joining source lines; line is what comes out.
"""
