"""Names on the broker that producers, workers and Flower share. Constants only."""

RENDER_TASK = "glyph.render"
ANSWER_TASK = "glyph.answer"
RENDER_QUEUE = "glyph.render"
ANSWER_QUEUE = "glyph.answer"
