"""`python -m glyph_worker.cli`: how this package starts workers of its own."""

from glyph_worker.cli.app import main

if __name__ == "__main__":
    main()
