"""The executions of a run, one behind the other: across continue-as-new, and across a reset of what went wrong.

A reset makes a new execution whose history begins as that of the one that was reset, up to where it was reset to.
"""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from everstep.errors import RunNotFoundError


class Executions:
    """Leads a reader of histories from one execution of a run to the next.

    Args:
        client: connected to the server.
        run_id: the run's id.
        known: an execution that the reader has read from before; it is not left out, though it was reset since.
    """

    def __init__(self, client: Client, run_id: str, known: str | None = None) -> None:
        self._client = client
        self._run_id = run_id
        self._known = known
        self._first = ""
        self._read: set[str] = set()
        self._repeated: frozenset[str] | None = None

    async def first(self) -> str:
        """Where to begin.

        Raises:
            RunNotFoundError: there is no such run.
        """
        found = await self._describe()
        if found is None:
            raise RunNotFoundError(self._run_id)
        self._first = _first(found)
        return await self._valid(self._first)

    async def next(self, execution: str, event: HistoryEvent) -> str | None:
        """The execution that goes on, where this event ended one and another does; None where nothing does."""
        self._read.add(execution)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
            self._repeated = None
            continued = event.workflow_execution_continued_as_new_event_attributes
            return await self._valid(continued.new_execution_run_id)
        if event.event_type not in _ENDS:
            return None
        now = await self._describe()
        if now is None or now.run_id in self._read or _first(now) != self._first:
            return None
        self._repeated = frozenset(self._read)
        return await self._reset_to(execution) or now.run_id

    def repeats(self, event: HistoryEvent) -> bool:
        """Whether an event of the present execution stood in one that was read before, as it was reset from there."""
        if self._repeated is None:
            return False
        failed = event.workflow_task_failed_event_attributes
        if failed.cause == _RESET and failed.new_run_id not in self._repeated:
            self._repeated = None
        return True

    async def _valid(self, execution: str) -> str:
        """The execution, or the one that it was reset to, which has all of it that counts."""
        passed = {execution}
        while execution != self._known and (reset := await self._reset_to(execution)) and reset not in passed:
            execution = reset
            passed.add(reset)
        return execution

    async def _reset_to(self, execution: str) -> str | None:
        found = await self._describe(execution)
        return None if found is None else found.raw_description.workflow_extended_info.reset_run_id or None

    async def _describe(self, execution: str | None = None) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(self._run_id, run_id=execution).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            raise


def _first(found: WorkflowExecutionDescription) -> str:
    return found.raw_description.workflow_execution_info.first_run_id or found.run_id


_RESET = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
_ENDS = frozenset(
    (
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    )
)
