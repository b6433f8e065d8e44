"""Showing a model's answer while it is written, in pieces that a run's history can afford."""

from __future__ import annotations

import time
from typing import Any

from everstep.agent.events import AgentStream
from everstep.context import Context

GATHER_SECONDS = 0.1
"""For how long tokens are gathered before they are shown: each piece is an event in the run's history."""


class TokenStream:
    """Takes tokens, gives `AgentStream` events."""

    def __init__(self, ctx: Context[Any], agent: str) -> None:
        self._ctx = ctx
        self._agent = agent
        self._pieces: list[str] = []
        self._shown_at = 0.0

    def add(self, token: str) -> None:
        """Take the next piece of text."""
        self._pieces.append(token)
        if time.monotonic() - self._shown_at >= GATHER_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Show what is left."""
        if self._pieces:
            self._ctx.write_event_to_stream(AgentStream(delta="".join(self._pieces), current_agent_name=self._agent))
            self._pieces.clear()
            self._shown_at = time.monotonic()
