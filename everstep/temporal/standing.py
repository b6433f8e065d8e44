"""Where a run stands, as the server tells it: its details in one line, and whether it waits for a person.

Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from everstep.engine import views
from everstep.engine.run import Run
from everstep.temporal import names

_WAITING = SearchAttributeKey.for_bool(names.WAITING)


class Standing:
    """What one execution has told.

    Args:
        run: that is told of.
        waiting: whether the search attribute says, from the execution before, that the run waits.
        indexed: whether the server has that attribute.
    """

    def __init__(self, run: Run, *, waiting: bool, indexed: bool) -> None:
        self._run = run
        self.waiting = waiting
        self._indexed = indexed
        self._describing = False

    def show(self) -> None:
        """Something has happened; the details are written once for all that a workflow task brings."""
        if not self._describing:
            self._describing = True
            asyncio.get_running_loop().call_soon(self._describe)
        waiting = bool(self._run.open_requests or self._run.family.open_requests)
        if waiting != self.waiting:
            self.waiting = waiting
            if self._indexed:
                workflow.upsert_search_attributes([_WAITING.value_set(waiting)])  # pyright: ignore[reportUnknownMemberType]

    def _describe(self) -> None:
        self._describing = False
        workflow.set_current_details(views.describe(self._run))
