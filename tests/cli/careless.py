"""A flow whose step does what a worker must survive, or end of."""

import asyncio
import contextlib
import logging
import sys
import time

from everstep import Workflow, step
from everstep.events import StartEvent, StopEvent

log = logging.getLogger("careless")


class Careless(Workflow):
    @step
    async def act(self, ev: StartEvent) -> StopEvent:
        loop = asyncio.get_running_loop()
        match ev.how:
            case "sleep":
                log.warning("sleeping")
                await asyncio.sleep(3)
            case "block":
                time.sleep(5)  # noqa: ASYNC251
            case "break":
                loop._selector.close()  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            case "exit":
                stray = loop.create_task(self._leave())
                await asyncio.wait([stray])
            case "stop":
                loop.stop()
                await asyncio.sleep(0.1)
            case "deaf":
                log.warning("deaf")
                while True:
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(60)
            case _:
                pass
        return StopEvent(result="done")

    async def _leave(self) -> None:
        sys.exit(3)
