"""The state of a run that has outgrown what rides along with its steps: asked for by query, when a step first reads it.

Workers that have the run may be away just then. That is no failure of the step: its attempt is given back, uncounted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import ContextStateError, PayloadStorageError, WorkflowRuntimeError
from everstep.temporal import names
from everstep.wire import StepCall

PATIENCE_SECONDS = 10.0
"""For how long a query that was not answered is put again, before the attempt is given back."""

_BETWEEN_TRIES = (0.05, 2.0)

_LASTING = (
    RPCStatusCode.NOT_FOUND,
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.UNIMPLEMENTED,
)
"""What the server says of the question itself; everything else tells of the moment."""

_OTHER_WORKER = "not registered on this worker"


class StateAway(WorkflowRuntimeError):
    """Nobody tells the run's state now; the attempt that reads it is given back."""


class StateReader:
    """Reads the state for one attempt of a step.

    `away` says why it could not be had, or that it is still waited for; None where nothing is lacking. It stays, so
    that a step whose code goes on without the state is given back too.

    Args:
        client: of the worker.
        call: what the step was given.
    """

    def __init__(self, client: Client, call: StepCall) -> None:
        self.away: str | None = None
        self._client = client
        self._call = call

    async def read(self) -> Mapping[str, Any]:
        """The state: what came along, or the run's answer.

        Raises:
            StateAway: nobody has answered for some time.
            ContextStateError: the run has ended, or its state cannot be read.
        """
        if self._call.state is not None:
            return self._call.state
        run = self._call.run_id
        pause, longest = _BETWEEN_TRIES
        until = time.monotonic() + PATIENCE_SECONDS
        self.away = "no worker of the run has answered yet"
        while True:
            try:
                state: Mapping[str, Any] = await self._client.get_workflow_handle(run).query(names.STATE)
                self.away = None
                return state
            except (RPCError, WorkflowQueryFailedError) as error:
                if _is_lasting(error):
                    self.away = None
                    raise ContextStateError(f"the state of run {run} cannot be read: {error.message}") from error
                self.away = error.message
            except PayloadStorageError as error:
                self.away = str(error)
            if time.monotonic() > until:
                raise StateAway(f"the state of run {run} cannot be had now: {self.away}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)


def _is_lasting(error: RPCError | WorkflowQueryFailedError) -> bool:
    if isinstance(error, WorkflowQueryFailedError):
        return _OTHER_WORKER not in error.message
    return error.status in _LASTING
