"""What is raised where a promise of the design does not hold."""

from __future__ import annotations


class Broken(AssertionError):
    """A promise is broken; the message says which, and how."""


def hold(condition: object, promise: str) -> None:
    """Raise `Broken` unless the condition is true."""
    if not condition:
        raise Broken(promise)
