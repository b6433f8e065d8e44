"""A context outside of steps: what the next run begins with, the run there is, and what it can be taken down as."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from everstep.context.serializers import BaseSerializer
from everstep.context.snapshot import Snapshot
from everstep.context.state_store import ContextStore
from everstep.errors import ContextStateError
from everstep.flow.compile import flow_types, former_steps

if TYPE_CHECKING:
    from everstep.handler import WorkflowHandler
    from everstep.workflow import Workflow


class Outside:
    """What a `Context` is made of where it belongs to no step.

    Args:
        flow: the name of the flow, where it is known.
        store: its state.
        serializer: what `to_dict` and `from_dict` use if they are given none.
        snapshot: what it was restored from.
    """

    def __init__(
        self,
        flow: str,
        store: ContextStore[Any],
        serializer: BaseSerializer | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.flow = flow
        self.store = store
        self.serializer = serializer
        self.snapshot = snapshot
        self.run: WorkflowHandler | None = None

    @classmethod
    def of_flow(cls, flow: Workflow, previous: Mapping[str, Any] | None, serializer: BaseSerializer | None) -> Outside:
        """Before any run, or restored from what an earlier context was taken down as.

        Raises:
            ContextSerdeError: `previous` is of another flow, or cannot be restored.
        """
        name, serializer = flow.workflow_name, serializer or flow.serializer
        snapshot = None if previous is None else Snapshot.from_json(previous, serializer)
        if snapshot is not None:
            snapshot.check_fits(flow.definition, former_steps(type(flow)))
        store: ContextStore[Any] = ContextStore(snapshot and snapshot.state, flow_types(type(flow)).state)
        return cls(name, store, serializer, snapshot if snapshot is not None and snapshot.under_way else None)

    @classmethod
    def of_run(cls, run: WorkflowHandler) -> Outside:
        """Of a run that was begun without a context."""
        outside = cls("", ContextStore(None, run.state_type), run.serializer)
        outside.follow(run)
        return outside

    @property
    def is_running(self) -> bool:
        """Whether a run is under way, or is to be gone on with."""
        return self.snapshot is not None or (self.run is not None and not self.run.ended)

    def to_go_on_with(self) -> Snapshot | None:
        """The run that is to be gone on with; None if a new one may begin.

        Raises:
            ContextStateError: this context's run is under way.
        """
        if self.run is not None and not self.run.ended:
            raise ContextStateError(
                f"this context belongs to run {self.run.run_id}, which is under way: await it first, or give the new "
                "run a context of its own"
            )
        return None if self.snapshot is None else replace(self.snapshot, state=self.store.own or {})

    def follow(self, run: WorkflowHandler) -> None:
        """This is the context's run from now on."""
        self.run, self.snapshot = run, None
        self.store.follow(run)

    def require_run(self, what: str) -> WorkflowHandler:
        """The context's run.

        Raises:
            ContextStateError: there is none yet.
        """
        if self.run is None:
            raise ContextStateError(f"{what} needs a run, and this context has none yet: give it to run(ctx=…) first")
        return self.run

    def to_dict(self, serializer: BaseSerializer | None, include_state: bool) -> dict[str, Any]:
        """See `Context.to_dict`."""
        own = self.store.own
        if self.run is None:
            taken = self.to_go_on_with() or Snapshot(self.flow, own or {})
        else:
            taken = self.run.snapshot()
            if self.run.ended and own is not None:  # it may have been changed since
                taken = replace(taken, state=own)
        data = taken.to_json(serializer or self.serializer)
        return data if include_state else {**data, "state": {}}

    def get_result(self) -> Any:
        """See `Context.get_result`."""
        warnings.warn("Context.get_result() is deprecated: await the run's handler.", DeprecationWarning, stacklevel=3)
        run = self.require_run("get_result")
        event = run.get_stop_event()
        if event is None:
            raise ContextStateError(f"run {run.run_id} has no result, or has not ended yet: await its handler")
        return run.result_of(event)
