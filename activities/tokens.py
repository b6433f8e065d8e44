"""How many tokens a text has, where the model's tokenizer is not at hand."""

from __future__ import annotations

import re

_PIECE = re.compile(r"[A-Za-z]+|\d+|[^\W\d_]+|[^\w\s]+|_+|\n\s*")


def estimated_tokens(text: str) -> int:
    """An estimate of the tokens of a text for OpenAI's models, meant to be rather too high than too low.

    Their tokenizer's tables are fetched from the internet on first use, which a worker must not depend on. Counted are
    a word's pieces of seven letters, digits by threes, marks in pairs, and letters of other scripts one by one.
    """
    return sum(map(_tokens, _PIECE.findall(text)))


def _tokens(piece: str) -> int:
    if piece[0].isspace():
        return 1
    if piece.isdigit():
        return -(-len(piece) // 3)
    if piece.isascii():
        return -(-len(piece) // (7 if piece.isalpha() else 2))
    return len(piece)
