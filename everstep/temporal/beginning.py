"""How a run began, told from its history: whether its start was refused, and what its start event declares."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from everstep.temporal import names

_BEFORE = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        EventType.EVENT_TYPE_MARKER_RECORDED,
    }
)
"""What a history holds before it tells whether the start was taken."""


@dataclass(slots=True)
class Beginning:
    """What the history tells so far. `refused` is why the start was refused; `fields` are the start event's, if known.

    `start` is the start event's type, empty while no worker has taken the run up.
    """

    refused: str | None = None
    start: str = ""
    fields: list[str] = field(default_factory=list[str])


async def beginning(client: Client, run_id: str, seconds: float) -> Beginning:
    """Read how a run began, waiting for it up to so many seconds."""
    out = Beginning()
    try:
        async with asyncio.timeout(seconds):
            async for event in client.get_workflow_handle(run_id).fetch_history_events(wait_new_event=True):
                if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
                    await _read_marker(client, event, out)
                if event.event_type not in _BEFORE:
                    break
    except TimeoutError:
        pass
    return out


async def _read_marker(client: Client, event: HistoryEvent, out: Beginning) -> None:
    details = event.marker_recorded_event_attributes.details
    if "result" not in details or (await _json(client, details["data"])).get("activity_type") != names.BEGIN:
        return
    begun = await _json(client, details["result"])
    out.refused = begun.get("refused")
    if out.refused is None:
        out.start = str(begun["start"]["type"])
        events: Mapping[str, dict[str, dict[str, Any]]] = begun["definition"]["events"]
        schema = events.get(out.start, {}).get("schema", {})
        out.fields = list(cast("dict[str, Any]", schema.get("properties", {})))


async def _json(client: Client, payloads: Payloads) -> dict[str, Any]:
    values = await client.data_converter.decode(payloads.payloads)
    return cast("dict[str, Any]", values[0]) if values and isinstance(values[0], dict) else {}
