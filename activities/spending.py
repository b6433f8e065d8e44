"""How many tokens the calls of models within a block took, whoever makes them; for flows, kept in the run's state."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from everstep import Context
from everstep.agent import Usage

__all__ = ["Usage", "spend", "spending", "spent"]

_STATE = "usage"


@dataclass
class _Tally:
    usage: Usage


_here: ContextVar[_Tally | None] = ContextVar("activities_spending", default=None)


def spend(usage: Usage) -> None:
    """A model has answered; noted by the block that this is in, if it is in one."""
    tally = _here.get()
    if tally is not None:
        tally.usage += usage


@asynccontextmanager
async def spending(ctx: Context, part: str) -> AsyncGenerator[None]:
    """Keep what the block spends in the run's state. A block that fails keeps nothing.

    Args:
        ctx: the step's.
        part: a name that no other block of the run has: several may end at one time.
    """
    tally = _Tally(Usage())
    outer = _here.set(tally)
    try:
        yield
    finally:
        _here.reset(outer)
    if tally.usage.total_tokens:
        await ctx.store.set(f"{_STATE}.{part}", tally.usage)


async def spent(ctx: Context) -> Usage:
    """What the run has spent so far."""
    parts: Mapping[str, Any] = await ctx.store.get(_STATE, default={})
    return sum(map(Usage.model_validate, parts.values()), Usage())
