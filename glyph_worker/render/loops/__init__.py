"""Inner loops, compiled where numba is installed: wrap_loop breaks lines of words, char_loop those
of characters, blit draws glyphs."""
