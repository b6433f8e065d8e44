"""The engine's own events of a run (unhandled, idle), had by feeding the recorded history to the same engine again.

Nothing is recorded for them while the run goes on: who asks for them pays, by a replay of the history.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer

from everstep.engine.messages import Envelope
from everstep.temporal.interpreter import workflow_class


async def internal_events(client: Client, run_id: str, history: Sequence[HistoryEvent]) -> list[Envelope]:
    """The engine's own events, in order.

    Args:
        client: its data converter decodes the history.
        run_id: the run's id.
        history: of one execution, from its beginning; it may end at any workflow task that completed.
    """
    seen: list[Envelope] = []
    flow = history[0].workflow_execution_started_event_attributes.workflow_type.name
    workflow = workflow_class(flow, observe=seen.append)
    replayer = Replayer(workflows=[workflow], data_converter=client.data_converter)
    await replayer.replay_workflow(WorkflowHistory(run_id, list(history)), raise_on_replay_failure=False)
    return seen
