"""Inner loops, compiled where numba is installed: wrap_loop breaks lines, blit draws glyphs."""
