"""Every error that everstep raises, under one root.

A message names the thing, says what is wrong with it, and what to do. Errors that carry fields build their
own message; `from_message` makes one from its text alone, as when it comes back from JSON, with fields at
defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class EverstepError(Exception):
    """The root of all errors of this library: catch it to catch them all."""

    @classmethod
    def from_message(cls, message: str) -> Self:
        """An error of this class with this text; its fields keep their defaults."""
        error = cls.__new__(cls)
        Exception.__init__(error, message)
        return error


class MissingExtraError(EverstepError):
    """An optional dependency is not installed.

    Args:
        extra: the extra of everstep that brings it, as in ``pip install everstep[extra]``.
        package: the package that could not be imported.
    """

    extra: str = ""
    package: str = ""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"The package {package!r} is not installed: it comes with an extra. "
            f"Install it with: pip install 'everstep[{extra}]'"
        )
        self.extra = extra
        self.package = package


class SettingsError(EverstepError):
    """What the environment or a configuration file says cannot be used."""


class UnreadablePayloadError(EverstepError):
    """A payload on the server cannot be read here: its key is missing, or it was changed."""


class PayloadStorageError(EverstepError):
    """The storage of large payloads cannot be reached, or does not have what it is asked for."""


class WorkflowValidationError(EverstepError):
    """A flow or a step is written in a way that cannot work. `problems` has one line for each fault."""

    problems: tuple[str, ...] = ()

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems) or (message,)


class WorkflowConfigurationError(WorkflowValidationError):
    """A flow lacks what every flow needs: steps, one start event type, one stop event type, a runtime."""


class WorkflowRuntimeError(EverstepError):
    """Something went wrong while a run was started or was running."""


class WorkflowTimeoutError(WorkflowRuntimeError):
    """A run took longer than its timeout allows."""


class WorkflowCancelledByUser(WorkflowRuntimeError):
    """A run was cancelled from outside."""


class WorkflowStepDoesNotExistError(WorkflowRuntimeError):
    """An event was addressed to a step that the flow does not have."""


class ContextSerdeError(EverstepError):
    """A context could not be turned into JSON, or built from it."""


class ContextStateError(EverstepError):
    """A context was used for something that it cannot do at that moment."""


class StateValueError(ContextStateError):
    """A value cannot be kept in a run's state, or a path does not lead anywhere."""


class EventEncodeError(WorkflowRuntimeError):
    """An event holds a value that has no JSON form.

    Args:
        event_type: the class name of the event.
        faults: one line for each value: its path, its type, what to do.
    """

    event_type: str = ""
    faults: tuple[str, ...] = ()

    def __init__(self, event_type: str, faults: Sequence[str]) -> None:
        super().__init__(f"{event_type} cannot be written as JSON: {'; '.join(faults)}")
        self.event_type = event_type
        self.faults = tuple(faults)


class EventDecodeError(WorkflowRuntimeError):
    """An event cannot be built from the data that was given.

    Args:
        event_type: the class name of the event.
        faults: one line for each fault: the path of the value and what is wrong with it.
        remedy: what to do; by default, to send fields that fit the class.
    """

    event_type: str = ""
    faults: tuple[str, ...] = ()

    def __init__(self, event_type: str, faults: Sequence[str], remedy: str = "") -> None:
        remedy = remedy or f"Give the fields that {event_type} declares, as plain JSON"
        super().__init__(f"{event_type} cannot be built: {'; '.join(faults)}. {remedy.rstrip('.')}.")
        self.event_type = event_type
        self.faults = tuple(faults)


class UnknownEventError(WorkflowRuntimeError):
    """An event's type is none that the flow knows."""

    event_type: str = ""

    def __init__(self, event_type: str, flow: str, known: Sequence[str] = ()) -> None:
        names = f" It knows: {', '.join(sorted(known))}." if known else ""
        super().__init__(
            f"Event type {event_type!r} is unknown to flow {flow!r}.{names} "
            "Name one that a step accepts or returns, or import its module before the flow runs."
        )
        self.event_type = event_type


class StepFailedError(WorkflowRuntimeError):
    """A step failed for good: no retry was left and no handler took it.

    Args:
        step: the step's name.
        event: the type name of the event it was given.
        exception_type: the name of what it raised; with its module, if it is not a builtin.
        message: the text of what it raised.
        attempts: how often it was tried.
        traceback: the traceback of the last attempt, as text; empty where there is none.
    """

    step: str = ""
    event: str = ""
    exception_type: str = ""
    message: str = ""
    attempts: int = 0
    traceback: str = ""

    def __init__(
        self, step: str, event: str, exception_type: str, message: str, attempts: int = 1, traceback: str = ""
    ) -> None:
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        super().__init__(f"Step {step!r} failed on {event} after {tries}: {exception_type}: {message}")
        self.step = step
        self.event = event
        self.exception_type = exception_type
        self.message = message
        self.attempts = attempts
        self.traceback = traceback


class ChildFailedError(WorkflowRuntimeError):
    """A flow that a step ran as a child did not give a result: it failed, timed out, was cancelled or never began.

    Its `__cause__` is the error itself, as far as it can be rebuilt.

    Args:
        run_id: the child's run id.
        flow: the child's flow.
        reason: what happened, in a sentence.
        exception_type: the name of what it failed with; with its module, if it is not a builtin.
        message: the text of that.
    """

    run_id: str = ""
    flow: str = ""
    exception_type: str = ""
    message: str = ""

    def __init__(self, run_id: str, flow: str, reason: str, exception_type: str, message: str) -> None:
        super().__init__(f"Child run {run_id!r} of flow {flow} gave no result: {reason}")
        self.run_id = run_id
        self.flow = flow
        self.exception_type = exception_type
        self.message = message


class ResourceError(WorkflowRuntimeError):
    """A resource that a step needs could not be made; its cause says why."""


class StepTimeoutError(WorkflowRuntimeError):
    """One attempt of a step took longer than the step's timeout.

    Args:
        step: the step's name.
        timeout: in seconds.
    """

    step: str = ""
    timeout: float = 0.0

    def __init__(self, step: str, timeout: float) -> None:
        super().__init__(
            f"Step {step!r} did not finish within its timeout of {timeout:g} s. "
            "Raise @step(timeout=...), or split the step."
        )
        self.step = step
        self.timeout = timeout


class RunNotFoundError(EverstepError):
    """No run has this id.

    Args:
        run_id: the id.
        where: which server was asked, as part of the message.
    """

    run_id: str = ""

    def __init__(self, run_id: str, where: str = "") -> None:
        place = f" {where}" if where else ""
        super().__init__(
            f"No run {run_id!r}{place}. See which there are with `everstep list`, or check TEMPORAL_ADDRESS and "
            "TEMPORAL_NAMESPACE."
        )
        self.run_id = run_id


class RunAlreadyStartedError(EverstepError):
    """A run with this id is there already.

    Args:
        run_id: the id.
    """

    run_id: str = ""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"A run {run_id!r} exists already. Choose another run_id, or follow the one there is.")
        self.run_id = run_id


class FlowNotFoundError(EverstepError):
    """No flow has this name.

    Args:
        flow: the name.
        known: the names of those that there are.
    """

    flow: str = ""

    def __init__(self, flow: str, known: Sequence[str] = ()) -> None:
        names = f" There are: {', '.join(sorted(known))}." if known else ""
        super().__init__(f"No flow {flow!r}.{names} Name one of them, or import the module that has it.")
        self.flow = flow


class FlowNotServedError(EverstepError):
    """The workers that were asked for a run do not have its flow."""

    run_id: str = ""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"The workers of the task queue of run {run_id!r} do not have its flow. All workers of one task queue must "
            "serve the same flows: give each set of flows a queue of its own (--task-queue)."
        )
        self.run_id = run_id


class ResponseRefusedError(EverstepError):
    """An answer or an event was refused; `reason` says why, and the run stays as it was."""

    reason: str = ""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Refused: {reason}")
        self.reason = reason


class RequestExpiredError(ResponseRefusedError):
    """An answer came after the request was due."""


class ServerUnreachableError(EverstepError):
    """The Temporal server does not answer.

    Args:
        address: where it was asked.
        detail: what went wrong.
    """

    address: str = ""

    def __init__(self, address: str, detail: str = "") -> None:
        why = f": {detail}" if detail else ""
        super().__init__(
            f"No Temporal server answers at {address}{why}. "
            "Start one with `everstep dev`, or set TEMPORAL_ADDRESS to the one that runs."
        )
        self.address = address
