"""Which characters are more than one glyph each, left to right."""

from __future__ import annotations

import re

# Scripts that need shaping or run right to left, and combining marks that NFC could not compose.
COMPLEX = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0590-\u08ff\u0900-\u0dff\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
    "\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u0f00-\u109f\u1700-\u17ff\u1800-\u18af\u1a00-\u1cff"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u3099\u309a\ua800-\uabff\ufb1d-\ufdff\ufe20-\ufe2f"
    "\ufe70-\ufeff\U00010800-\U00011fff\U0001e800-\U0001efff]"
)
