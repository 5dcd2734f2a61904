"""Text to pages to pixels. The map of this folder. Knows no queue, no torch.

Who calls in: the render stage (`paginate.paginate`), whoever draws (`out.raster.draw`).
What leaves: a LaidPage, known by its digest before a pixel is drawn. In reading order:

paginate  text to pages, page by page; start here
pictured  pages that were brought as pictures, among them
choose    which style a job is drawn in
style/    what changes pixels: Style, its limits, the presets
lines/    text to lines: normal form, spelling, widths, breaks
fonts/    font files, glyphs, shaping; the fonts themselves
pages/    lines to pages: exact (the reference's), flow (ours), grid (cells); the map
out/      pages to pixels, bytes and PNG files
loops/    the inner loops that are compiled
report    what happened on the way, counted
"""
