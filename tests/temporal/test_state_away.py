"""A step reads a large state while the workers that have its run are away."""

from __future__ import annotations

from temporalio.client import Client

from everstep import Context, Workflow, step
from everstep.events import Event, StartEvent, StopEvent
from everstep.temporal import TemporalRuntime, serving
from tests.support.waiting import until


class Next(Event):
    pass


class ReadsElsewhere(Workflow):
    """Its state does not ride along; who reads it runs where no workers of the run are."""

    @step
    async def fill(self, ctx: Context, ev: StartEvent) -> Next:
        await ctx.store.set("text", "x" * 20_000)
        return Next()

    @step(task_queue="reads-elsewhere", timeout=0.3)
    async def read(self, ctx: Context, ev: Next) -> StopEvent:
        try:
            length = len(await ctx.store.get("text"))
        except Exception:  # no result may be made of that
            length = 0
        return StopEvent(result=[length, ctx.retry_info().retry_number])


async def test_a_step_whose_state_nobody_tells_runs_again_uncounted(client: Client, task_queue: str) -> None:
    """That its timeout passes meanwhile is no failure: there is no retry policy, and the run comes to its end."""
    async with serving(client, [ReadsElsewhere], task_queue=task_queue):
        handler = ReadsElsewhere(runtime=TemporalRuntime(client, task_queue=task_queue)).run()
        workflow = client.get_workflow_handle(handler.run_id)

        async def pending() -> list[tuple[str, int, str]]:
            found = (await workflow.describe()).raw_description.pending_activities
            return [(one.activity_type.name, one.attempt, one.last_failure.message) for one in found]

        async def due() -> bool:
            return [name for name, _, _ in await pending()] == ["ReadsElsewhere.read"]

        await until(due)

    async def given_back() -> bool:
        return any("waits for workers of its run" in message for _, _, message in await pending())

    async with serving(client, [ReadsElsewhere], task_queue="reads-elsewhere", steps_only=True):
        await until(given_back)
        async with serving(client, [ReadsElsewhere], task_queue=task_queue):
            assert await handler == [20_000, 0]
