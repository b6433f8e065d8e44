"""How a step that joins a stream wants it: all of its members, or the first few."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Cardinality:
    """How much of a stream a join waits for: `All`, or `Take`."""


@dataclass(frozen=True, slots=True)
class All(Cardinality):
    """Fire once, when the stream is complete, with all members; what a plain ``list[E]`` parameter means."""


@dataclass(frozen=True, slots=True)
class Take(Cardinality):
    """Fire once, with the first `n` members to arrive, or with all there are when the stream ends before.

    The other members go on running, and do not reach the step. Raises `ValueError` if `n` is below 1.
    """

    n: int

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or self.n < 1:
            raise ValueError(f"Take({self.n!r}): n is how many members to wait for; give a whole number above 0.")


@dataclass(frozen=True, slots=True)
class Collect:
    """Says in a ``list[E]`` parameter how much of the stream to wait for.

    Example: `async def first(self, events: Annotated[list[Found], Collect(Take(1))]) -> StopEvent: ...`
    """

    cardinality: All | Take = field(default_factory=All)
