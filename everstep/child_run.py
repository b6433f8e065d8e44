"""`ctx.run`: what a step says when it runs a flow becomes data, and how that child ended becomes the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from everstep.engine.calls import ChildCall
from everstep.engine.passes import ChildEnd
from everstep.errors import ChildFailedError, UnknownEventError, WorkflowRuntimeError
from everstep.events import StartEvent, StopEvent, event_from_data, event_to_data
from everstep.exception_data import exception_from_data
from everstep.flow.compile import flow_types
from everstep.state_store import begin_state
from everstep.workflow import Workflow


def child_flow(step: str, flow: Any) -> Workflow:
    """The instance of a flow that a step gave as one, or as a class.

    Raises:
        WorkflowRuntimeError: it is no flow, or its class cannot be built without arguments.
    """
    if isinstance(flow, Workflow):
        return flow
    if not (isinstance(flow, type) and issubclass(flow, Workflow)):
        raise WorkflowRuntimeError(
            f"step {step!r} runs {flow!r}, which is no flow: give a Workflow class or an instance of one"
        )
    try:
        return flow()
    except TypeError as error:
        raise WorkflowRuntimeError(
            f"step {step!r} runs {flow.__name__}, which is not built without arguments ({error}): give an instance"
        ) from error


def child_call(
    step: str,
    flow: Workflow,
    start_event: StartEvent | None,
    fields: Mapping[str, Any],
    *,
    ctx: Any,
    run_id: str | None,
    timeout: float | None,
    task_queue: str | None,
) -> ChildCall:
    """What a step asks for, checked where it says it.

    Raises:
        WorkflowRuntimeError: the start event, the timeout or the id does not fit.
        StateValueError: `ctx` is no state that the flow can begin with.
    """
    name = flow.workflow_name
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout > 0):
        raise WorkflowRuntimeError(
            f"step {step!r} runs {name} with timeout={timeout!r}: give seconds above 0, or None for the flow's own"
        )
    for what, text in (("run_id", run_id), ("task_queue", task_queue)):
        if text is not None and not (isinstance(cast("object", text), str) and text):
            raise WorkflowRuntimeError(f"step {step!r} runs {name} with {what}={text!r}: give a text, or leave it out")
    own = flow.timeout if flow.timeout != type(flow).timeout else None
    return ChildCall(
        name,
        event_to_data(flow.make_start_event(start_event, fields)),
        flow.stop_event_class.__name__,
        run_id,
        own if timeout is None else float(timeout),
        None if ctx is None else begin_state(flow_types(type(flow)).state, ctx),
        task_queue,
    )


def child_result(flow: Workflow, end: ChildEnd) -> Any:
    """What awaiting the child gives: what `Workflow.run` would.

    Raises:
        ChildFailedError: it failed, timed out or was cancelled, or could not be started.
    """
    if end.event is None:
        failure = end.failure
        assert failure is not None
        error = ChildFailedError(end.run, flow.workflow_name, end.reason, failure.type, failure.message)
        raise error from exception_from_data({"type": failure.type, "message": failure.message})
    types = flow_types(type(flow))
    cls = types.resolve(end.event.type)
    if cls is None:
        raise UnknownEventError(end.event.type, flow.workflow_name, types.names())
    event = event_from_data(cls, end.event.data, types.resolve)
    return event.result if type(event) is StopEvent else event
