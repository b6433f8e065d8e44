"""Which step runs here: for logs, and for whoever must name what is going on."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple


class Here(NamedTuple):
    """The invocation of a step that the present code belongs to, and which of its attempts it is."""

    run_id: str
    flow: str
    step: str
    invocation: int
    attempt: int = 1


here: ContextVar[Here | None] = ContextVar("everstep_here", default=None)
"""Set where a step begins; tasks and threads that it starts by asyncio inherit it."""
