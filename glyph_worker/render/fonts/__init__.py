"""Fonts: files, glyphs, shaping.

fontfile (where and which) → sfnt, outlines (drawn unhinted) → typeface → glyphs (of one style);
shaping for scripts that need it; reference_numbers as the reference passes them on.
"""
