"""The engine's own events of a run (unhandled, idle), had by feeding the recorded history to the same engine again.

Nothing is recorded for them while the run goes on: who asks for them pays, by a replay of the history.
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
from everstep.temporal.interpreter import workflow_class

Observer = Callable[[Engine, happened.Input, Sequence[do.Command]], None]


async def internal_events(client: Client, run_id: str, history: Sequence[HistoryEvent]) -> list[Envelope]:
    """The engine's own events, in order.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.
        history: of one execution, from its beginning; it may end at any workflow task that completed.
    """
    seen: list[Envelope] = []

    def observe(_engine: Engine, _what: happened.Input, commands: Sequence[do.Command]) -> None:
        seen.extend(command.event for command in commands if isinstance(command, do.Publish))

    await observed(client, run_id, history, observe)
    return seen


async def observed(client: Client, run_id: str, history: Sequence[HistoryEvent], observe: Observer) -> None:
    """Feed a history to the same engine again, and show an observer each input and what the engine commanded.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.
        history: of one execution, from its beginning; it may end at any workflow task that completed.
        observe: is shown the engine, after each input.
    """
    cancelled = any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED for event in history)

    def apply(engine: Engine, what: happened.Input) -> list[do.Command]:
        if isinstance(what, happened.CancelRequested) and not cancelled:
            return []  # at the end of a history that goes on, the replay itself cancels what it has
        commands = engine.apply(what)
        observe(engine, what, commands)
        return commands

    flow = history[0].workflow_execution_started_event_attributes.workflow_type.name
    workflow = workflow_class(flow, apply)
    replayer = Replayer(workflows=[workflow], data_converter=client.data_converter)
    await replayer.replay_workflow(WorkflowHistory(run_id, list(history)), raise_on_replay_failure=False)
