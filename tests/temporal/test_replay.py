"""Every recorded history replays: no change of the engine or the interpreter alters what an old run has done."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import WorkflowHistory

from everstep.testing import assert_replays

TASK_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
HISTORIES = sorted((Path(__file__).parents[1] / "histories").glob("*/*.json"))


def test_there_are_histories() -> None:
    """The folder was not lost: each kind of run is there, some over several executions."""
    names = {path.name.split(".")[0] for path in HISTORIES}
    assert {"chain", "fan", "ask", "expire", "fail", "cancel", "timeout"} <= names
    assert {"wait", "outage", "stream", "collect", "children", "agent"} <= names
    assert any(path.name.endswith(".3.json") for path in HISTORIES)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_a_recorded_history_replays(path: Path) -> None:
    """The present interpreter gives the commands that stand in the history."""
    await assert_replays(path)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_recorded_history_has_a_fault(path: Path) -> None:
    """No workflow task failed, but for the server's own way of saying that something arrived at the boundary."""
    history = WorkflowHistory.from_json(path.stem, path.read_text())
    failed = [e.workflow_task_failed_event_attributes.cause for e in history.events if e.event_type == TASK_FAILED]
    assert set(failed) <= {WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND}
