"""What a child run tells the run above it: its requests to people and, where it is asked to, how it ended.

One signal at a time, so that they arrive in order. Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from temporalio import workflow
from temporalio.exceptions import FailureError

from everstep.engine.passes import ChildEnd
from everstep.temporal import names
from everstep.temporal.payloads import raw


class ParentLine:
    """The line of one execution to the run above.

    Args:
        orphaned: is called when there is no such run any more.
        settled: is called when all is told.
        above: what an earlier execution has carried over; None in a run that is no child.
    """

    def __init__(
        self, orphaned: Callable[[str], None], settled: Callable[[], None], above: Mapping[str, Any] | None = None
    ) -> None:
        self._orphaned = orphaned
        self._settled = settled
        self._parent: str | None = above["run"] if above else None
        self._report = bool(above and above.get("report"))
        self._changed: dict[str, dict[str, Any]] = {}
        self._sending: asyncio.Task[None] | None = None

    @property
    def is_child(self) -> bool:
        """Whether there is a run above."""
        return self._parent is not None

    @property
    def busy(self) -> bool:
        """Whether something is on its way."""
        return self._sending is not None

    def carried(self) -> dict[str, Any]:
        """What the next execution has to know; empty in a run that is no child."""
        return {} if self._parent is None else {"above": {"run": self._parent, "report": self._report}}

    def heard(self, arguments: Sequence[Any]) -> None:
        """The run above wants to be told how this one ends: the server does not tell it any more."""
        body: Any = arguments[0] if len(arguments) == 1 else None
        self._report = self._report or (isinstance(body, dict) and bool(cast("dict[str, Any]", body).get("report")))

    def changed(self, view: dict[str, Any], *, opened: bool) -> None:
        """Tell of a request to a person that was opened, or has changed."""
        opened = opened or self._changed.get(view["id"], {}).get("opened", False)
        self._changed[view["id"]] = {"view": view, "opened": opened}
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())

    async def close(self, end: ChildEnd) -> None:
        """Tell how the run ended, where that is wanted."""
        self._changed.clear()
        if self._report:
            try:
                await self._signal({"run": end.run, "end": end.to_json()})
            except FailureError:
                return  # the run above has ended too

    async def _send(self) -> None:
        try:
            while self._changed:
                changed, self._changed = self._changed, {}
                await self._signal({"run": workflow.info().workflow_id, "requests": list(changed.values())})
        except FailureError:
            self._orphaned(f"its parent run {self._parent} has ended")
        finally:
            self._sending = None
        self._settled()

    async def _signal(self, body: Mapping[str, Any]) -> None:
        assert self._parent is not None
        await workflow.get_external_workflow_handle(self._parent).signal(names.CHILD, raw(body))
