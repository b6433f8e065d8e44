"""`LocalRuntime`: starts runs in this process."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from everstep.errors import WorkflowRuntimeError
from everstep.events import Event
from everstep.handler import WorkflowHandler
from everstep.invoke import Invoker
from everstep.local.handler import LocalHandler
from everstep.local.run import LocalRun
from everstep.state_store import initial_state
from everstep.workflow import Workflow

SYNC_STEP_THREADS = 128
"""How many sync steps may run at one time in a process, over all runs."""


class LocalRuntime:
    """Runs flows on the present event loop; sync steps run in threads.

    Args:
        clock: gives epoch seconds; for tests.

    Example:
        >>> with LocalRuntime():
        ...     result = await MyFlow().run(topic="x")
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._executor = ThreadPoolExecutor(SYNC_STEP_THREADS, thread_name_prefix="everstep-step")

    def start(
        self,
        flow: Workflow,
        start_event: Event,
        *,
        run_id: str | None = None,
        ctx: Any | None = None,
    ) -> WorkflowHandler:
        """Start a run; see `Workflow.run`. `ctx` may be the state to begin with, as a dict.

        Raises:
            WorkflowRuntimeError: there is no running event loop.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise WorkflowRuntimeError(
                f"{flow.workflow_name}.run() needs a running event loop; call it from async code, for example "
                "asyncio.run(main())"
            ) from None
        run = LocalRun(Invoker(flow, self._executor), run_id or str(uuid.uuid4()), loop, self._clock)
        run.start(start_event, initial_state(ctx))
        return LocalHandler(run)
