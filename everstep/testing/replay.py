"""Whether a recorded history still replays: the check that runs under way survive a change of the code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer

from everstep.temporal.deployment import BUILD_ID
from everstep.temporal.interpreter import workflow_class
from everstep.workflow import Workflow

HistoryLike = WorkflowHistory | Mapping[str, Any] | str | PathLike[str]
"""A history as the SDK has it, as the JSON of ``temporal workflow show --output json``, or the file with that."""


async def assert_replays(
    history: HistoryLike,
    flow: Workflow | type[Workflow] | str | None = None,
    *,
    data_converter: DataConverter | None = None,
) -> None:
    """Assert that the present everstep does what a history tells.

    Args:
        history: of one execution; see `HistoryLike`.
        flow: the flow that it is said to be of; None: whatever it says.
        data_converter: decodes it, where it was written with a codec or with external storage.

    Raises:
        AssertionError: it does not replay, with what differs; or it is of another flow.
        ValueError: it is no history.

    Example: `await assert_replays("tests/histories/order-17.json", OrderFlow)`
    """
    read, name = _read(history)
    if not read.events or not read.events[0].HasField("workflow_execution_started_event_attributes"):
        raise ValueError(f"{name} is no history of a run: it does not begin with its start")
    kind = read.events[0].workflow_execution_started_event_attributes.workflow_type.name
    if flow is not None and _name(flow) != kind:
        raise AssertionError(f"{name} is a history of {kind}, not of {_name(flow)}")
    converter = data_converter or DataConverter.default
    replayer = Replayer(workflows=[workflow_class(kind)], data_converter=converter, build_id=BUILD_ID)
    result = await replayer.replay_workflow(read, raise_on_replay_failure=False)
    failure = result.replay_failure
    if failure is not None:
        raise AssertionError(
            f"{name} does not replay: {kind} would do something else now than its history tells. "
            f"{str(failure).strip()} ({len(read.events)} events; the steps in it: {', '.join(_steps(read)) or 'none'})"
        )


async def fetch_history(client: Client, run_id: str) -> WorkflowHistory:
    """The history of a run's newest execution; ``.to_json()`` of it is what a test keeps.

    Example: `Path("history.json").write_text((await fetch_history(client, "order-17")).to_json())`
    """
    return await client.get_workflow_handle(run_id).fetch_history()


def _read(history: HistoryLike) -> tuple[WorkflowHistory, str]:
    """The history, and what messages call it."""
    if isinstance(history, WorkflowHistory):
        return history, f"the history of {history.workflow_id}"
    if isinstance(history, Mapping):
        return _parsed("a run", history), "the history"
    if isinstance(history, str) and history.lstrip().startswith("{"):
        return _parsed("a run", history), "the history"
    path = Path(history)
    return _parsed(path.stem.split(".")[0], path.read_text(encoding="utf-8")), f"the history {path}"


def _parsed(run_id: str, text: str | Mapping[str, Any]) -> WorkflowHistory:
    try:
        return WorkflowHistory.from_json(run_id, json.loads(text) if isinstance(text, str) else dict(text))
    except Exception as error:
        raise ValueError(f"this is no history in JSON: {error}") from error


def _name(flow: Workflow | type[Workflow] | str) -> str:
    if isinstance(flow, str):
        return flow
    return flow.__name__ if isinstance(flow, type) else flow.workflow_name


def _steps(history: WorkflowHistory) -> list[str]:
    """The types of the activities that a history schedules."""
    scheduled = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    return list(
        dict.fromkeys(
            event.activity_task_scheduled_event_attributes.activity_type.name
            for event in history.events
            if event.event_type == scheduled
        )
    )
