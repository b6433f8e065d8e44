"""The engine's own events of a run and the states of its steps, derived from its history by whoever asks for them.

Nothing is recorded for them. An `EngineFollower` reads each event once; where it meets one that it cannot read, the
present interpreter replays what there is so far, for each workflow task anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.core import Engine
from everstep.engine.messages import Envelope
from everstep.engine.notices import Watch
from everstep.temporal.deployment import BUILD_ID
from everstep.temporal.follower import EngineFollower, Told
from everstep.temporal.interpreter import workflow_class
from everstep.temporal.replica import UnreadableError

Observer = Callable[[happened.Input, Sequence[do.Command]], None]


class InternalEvents:
    """Those of one execution, as its history grows.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.
    """

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._follower: EngineFollower | None = EngineFollower(client, run_id)
        self._history: list[HistoryEvent] = []
        self._given = 0

    async def after(self, event: HistoryEvent, *, more: bool) -> list[Told]:
        """What the history has brought about up to its next event, in order; see `EngineFollower.after`."""
        self._history.append(event)
        if self._follower is not None:
            try:
                new = await self._follower.after(event, more=more)
                self._given += len(new)
                return new
            except UnreadableError:
                self._follower = None
        if event.event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            return []
        seen = await replayed_events(self._client, self._run_id, self._history)
        new, self._given = seen[self._given :], max(len(seen), self._given)
        return [Told(event.event_id, notice) for notice in new]


async def replayed_events(client: Client, run_id: str, history: Sequence[HistoryEvent]) -> list[Envelope]:
    """The engine's own events and the states of steps, by a replay of all there is.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.
        history: of one execution, from its beginning; it may end at any workflow task that completed.
    """
    seen: list[Envelope] = []
    await observed(client, run_id, history, lambda engine: Watch(engine.run, seen.append).saw)
    return seen


async def observed(
    client: Client, run_id: str, history: Sequence[HistoryEvent], observer: Callable[[Engine], Observer]
) -> None:
    """Feed a history to the same engine again, and show an observer each input and what the engine commanded.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.
        history: of one execution, from its beginning; it may end at any workflow task that completed.
        observer: makes, of the engine before its first input, what is shown each input.
    """
    observe: Observer | None = None

    def apply(engine: Engine, what: happened.Input) -> list[do.Command]:
        if not what.now:
            return []  # when a replay is over all tasks are cancelled, at time zero: nothing of that has happened
        nonlocal observe
        observe = observe or observer(engine)
        commands = engine.apply(what)
        observe(what, commands)
        return commands

    flow = history[0].workflow_execution_started_event_attributes.workflow_type.name
    workflow = workflow_class(flow, apply)
    replayer = Replayer(workflows=[workflow], data_converter=client.data_converter, build_id=BUILD_ID)
    await replayer.replay_workflow(WorkflowHistory(run_id, list(history)), raise_on_replay_failure=False)
