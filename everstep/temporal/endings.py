"""How steps and runs end on Temporal: as the engine reads it, and as people see it in the UI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    TerminatedError,
)

from everstep.engine import children
from everstep.engine import commands as do
from everstep.engine.messages import Envelope, Failure
from everstep.engine.passes import ChildEnd
from everstep.temporal import names
from everstep.temporal.payloads import dump, raw


def step_failure(error: BaseException) -> Failure:
    """What a step's activity reports: our own failure record, or whatever else ended it."""
    cause = error.cause if isinstance(error, ActivityError) and error.cause is not None else error
    if isinstance(cause, ApplicationError) and cause.details and isinstance(cause.details[0], dict):
        details = cast("Mapping[str, Any]", cause.details[0])
        if "type" in details and "message" in details:
            return Failure.from_json(details)
    message = cause.message if isinstance(cause, FailureError) else str(cause)
    kind = (cause.type if isinstance(cause, ApplicationError) else None) or type(cause).__name__
    return Failure(kind, message)


def run_result(event: Envelope, stops: Sequence[str]) -> RawValue:
    """The run's result as plain JSON: the base stop event's result, or the fields of a typed one.

    What the flow does not tell, a type that it does not declare or further keys, stands in the payload's metadata. Else
    there is none: the command line shows payloads with metadata in base64.
    """
    if event.type != "StopEvent":
        return raw(event.data, None if event.type in stops else {names.TYPE_METADATA: event.type.encode()})
    free = {key: value for key, value in event.data.items() if key != "result"}
    return raw(event.data.get("result"), {names.FREE_KEYS_METADATA: dump(free)} if free else None)


def run_failure(command: do.FailRun) -> ApplicationError:
    """The run's failure as it reads in the Temporal UI."""
    details: dict[str, Any] = {"kind": command.kind, "step": command.step, "event": command.event}
    if command.failure is not None:
        details |= command.failure.to_json()
    if command.kind == "timeout":
        details |= {"timeout": command.timeout, "active_steps": list(command.active_steps)}
    kinds = {"step": "StepFailed", "timeout": "RunTimeout", "stuck": "RunStuck", "expired": "RequestExpired"}
    return ApplicationError(command.message, details, type=kinds.get(command.kind, "RunFailed"), non_retryable=True)


def stop_envelope(payload: Payload, stop: str) -> Envelope:
    """The stop event of a run, from the payload of its result, decoded by the client's codec.

    Args:
        stop: the type of stop event that the flow declares.
    """
    kind = payload.metadata.get(names.TYPE_METADATA, stop.encode()).decode()
    result = json.loads(payload.data)
    if kind != "StopEvent":
        return Envelope(kind, result)
    free = payload.metadata.get(names.FREE_KEYS_METADATA)
    return Envelope(kind, {"result": result, **({} if free is None else json.loads(free))})


def failure_details(error: BaseException) -> dict[str, Any]:
    """The record that everstep puts on the failure of a run; empty for failures of other origin."""
    if isinstance(error, ApplicationError) and error.details and isinstance(error.details[0], dict):
        return cast("dict[str, Any]", error.details[0])
    return {}


def child_failed(run: str, error: BaseException) -> ChildEnd:
    """How a child ended that gave no result, as the engine above it reads it."""
    cause = error.cause if isinstance(error, ChildWorkflowError) and error.cause is not None else error
    message = cause.message if isinstance(cause, FailureError) else str(cause)
    details = failure_details(cause)
    if details.get("kind") == "step" and "type" in details:
        return ChildEnd(run, failure=Failure.from_json(details), reason=message)
    if isinstance(cause, CancelledError):
        return ChildEnd.failed(run, "everstep.errors.WorkflowCancelledByUser", "it was cancelled")
    if isinstance(cause, TerminatedError):
        return ChildEnd.failed(run, "everstep.errors.WorkflowCancelledByUser", f"it was terminated: {message}")
    return ChildEnd.failed(run, children.failure_type(str(details.get("kind"))), message)
