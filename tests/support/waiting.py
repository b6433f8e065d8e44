"""Waiting in tests: for a condition, with a bound, and with what was seen last when it does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, within: float = 20.0, every: float = 0.05) -> T:
    """What `look` gives once it is true; AssertionError with the last value or error after `within` seconds."""
    end = asyncio.get_running_loop().time() + within
    while True:
        seen: object
        try:
            value = await look()
        except Exception as error:
            seen = error
        else:
            if value:
                return value
            seen = value
        assert asyncio.get_running_loop().time() < end, f"not seen within {within} s; last: {seen!r}"
        await asyncio.sleep(every)
