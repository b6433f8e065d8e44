"""A user's own Temporal workflow, written against the SDK; runs in the SDK's sandbox."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def triple(number: int) -> int:
    """The user's own activity."""
    return number * 3


@workflow.defn
class TripleWorkflow:
    """The user's own workflow."""

    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(triple, number, start_to_close_timeout=timedelta(seconds=10))
