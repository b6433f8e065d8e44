"""Where the library counts: the worker's metrics, or nothing where there are none."""

from __future__ import annotations

from typing import Protocol


class Meters(Protocol):
    """What is counted beside what a worker sees by itself."""

    def tokens(self, model: str, prompt: int, completion: int) -> None:
        """A model has read and written tokens."""
        ...


class _Nothing:
    def tokens(self, model: str, prompt: int, completion: int) -> None:
        pass


_meters: Meters = _Nothing()


def meters() -> Meters:
    """What counts in this process."""
    return _meters


def use_meters(counted: Meters | None) -> None:
    """Have this count from now on; None: nothing does."""
    global _meters
    _meters = _Nothing() if counted is None else counted
