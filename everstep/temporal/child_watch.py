"""Looking whether a child has ended, for a run that the server does not tell: one that has continued as new since.

A look that finds the child going on ends as a failure that is tried again, which adds nothing to the run's history and
takes no worker's slot meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.service import RPCError, RPCStatusCode

from everstep.engine.passes import ChildEnd
from everstep.temporal import names
from everstep.temporal.endings import child_failed, stop_envelope
from everstep.temporal.payloads import raw

LONGEST_PAUSE = 60.0
"""Seconds between two looks, at most; a child that ends by itself tells its run at once."""


def watch_activity(client: Client) -> Callable[..., Any]:
    """The activity that looks after a child.

    Args:
        client: the worker's.
    """

    @activity.defn(name=names.WATCH)
    async def watch(request: dict[str, Any]) -> RawValue:
        """Give how a child run has ended; while it has not, be tried again."""
        return raw((await _end_of(client, request["run"], request["stop"])).to_json())

    return watch


async def _end_of(client: Client, run: str, stop: str) -> ChildEnd:
    handle = client.get_workflow_handle(run, result_type=RawValue)
    try:
        found = await handle.describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        reason = "the server does not have it any more"
        return ChildEnd.failed(run, "everstep.errors.RunNotFoundError", reason)
    if found.status == WorkflowExecutionStatus.RUNNING:
        pause = min(LONGEST_PAUSE, 1.3 ** activity.info().attempt)
        raise ApplicationError(
            f"child run {run} goes on",
            type="ChildGoesOn",
            next_retry_delay=timedelta(seconds=pause),
            category=ApplicationErrorCategory.BENIGN,
        )
    try:
        result: RawValue = await handle.result()
    except WorkflowFailureError as error:
        return child_failed(run, error.cause)
    return ChildEnd(run, stop_envelope(result.payload, stop))
