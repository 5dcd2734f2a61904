"""Fonts: files, glyphs, shaping.

fontfile (where and which) → sfnt, outlines (drawn unhinted) → typeface → glyphs (of one style);
shaping, with bidi for directions, for the scripts that need it (scripts says which);
reference_numbers as the reference passes them on; cell_width in a terminal's cells; marks that
stand for line ends and indentation.
"""
