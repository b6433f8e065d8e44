"""The engine's own events, read from a history event by event: the same as a replay of the whole gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory

from everstep.engine.messages import Envelope
from everstep.temporal.follower import EngineFollower
from everstep.temporal.internal import replayed_events
from tests.temporal.test_replay import HISTORIES


async def followed(client: Client, history: list[HistoryEvent]) -> list[Envelope]:
    """What a follower tells of a history."""
    follower = EngineFollower(client, "run")
    last = history[-1]
    return [told.event for event in history for told in await follower.after(event, more=event is not last)]


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_history_tells_the_same_as_its_replay(client: Client, path: Path) -> None:
    """Each event is read once, and nothing is lost by that."""
    history = WorkflowHistory.from_json("run", path.read_text()).events
    replayed = await replayed_events(client, "run", history)
    assert await followed(client, list(history)) == replayed
