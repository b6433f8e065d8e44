"""Vectors as short text, for places that hold JSON: a vector of 384 numbers takes 2 kB instead of 8."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence


def pack(vector: Sequence[float]) -> str:
    """The vector as base64 of 32-bit floats, little-endian."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def unpack(text: str) -> list[float]:
    """The inverse of `pack`, to the precision of 32 bits."""
    numbers = array("f", base64.b64decode(text))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
