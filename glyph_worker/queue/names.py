"""Names on the broker that producers, workers and Flower share. No I/O."""

RENDER_TASK = "glyph.render"
ANSWER_TASK = "glyph.answer"
RENDER_QUEUE = "glyph.render"
ANSWER_QUEUE = "glyph.answer"


def transport_prefix(key_prefix: str) -> str:
    """What kombu puts before every key and channel of its own (`global_keyprefix`).

    Two key prefixes on one database, or another application there, then share no queue, and
    nobody gives out again what another's worker has taken. The scripts in store/lua/ publish under
    the same names.
    """
    return f"{key_prefix}:"
