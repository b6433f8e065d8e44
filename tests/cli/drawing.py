"""A flow with a step for workers of another machine."""

import os

from everstep import Workflow, step
from everstep.events import Event, StartEvent, StopEvent


class Sketch(Event):
    by: int


class Drawing(Workflow):
    @step
    async def sketch(self, ev: StartEvent) -> Sketch:
        return Sketch(by=os.getpid())

    @step(task_queue=os.environ.get("DRAWING_GPU_QUEUE", "gpu"))
    async def render(self, ev: Sketch) -> StopEvent:
        return StopEvent(result={"sketched": ev.by, "rendered": os.getpid()})
