"""Lines to pages.

page is what comes out. flow breaks where the text says (breaks), exact as the reference does, grid
by cells (cells); draw_lines puts the lines on pixels, pagemap says which characters lie where.
"""
