"""A step as its author wrote it: what the decorators leave on a function, read once its annotations can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

from everstep.errors import WorkflowValidationError
from everstep.event_base import Event
from everstep.events import StepFailedEvent
from everstep.flow.definition import Role
from everstep.retry_policy import RetryPolicy
from everstep.signature import EventParameter, ResourceParameter, StepSignature, read_signature

MARK = "__everstep__"
"""The attribute of a decorated function that holds its `StepMark`."""


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What a decorator's arguments say of a step; `timeout` is in seconds and bounds one attempt."""

    num_workers: int = 4
    retry_policy: RetryPolicy | None = None
    timeout: float | None = None
    task_queue: str | None = None
    local: bool = False
    skip_graph_checks: tuple[str, ...] = ()
    accept_event_subclasses: bool = False
    role: Role = "step"
    for_steps: tuple[str, ...] | None = None
    max_recoveries: int = 1
    formerly: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step as its author wrote it: the function, what it takes and returns, and its options."""

    name: str
    function: Callable[..., Any]
    signature: StepSignature
    options: StepOptions
    description: str = ""

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return self.signature.is_async

    @property
    def is_method(self) -> bool:
        """Whether the function takes the flow's instance first."""
        return self.signature.is_method

    @property
    def parameters(self) -> tuple[EventParameter, ...]:
        """The parameters that take events; of a join the one that takes the list."""
        return self.signature.parameters

    @property
    def context_parameter(self) -> str | None:
        """The name of the parameter that takes the context, if there is one."""
        return self.signature.context_parameter

    @property
    def state_type(self) -> type | None:
        """The `State` of a `Context[State]` parameter."""
        return self.signature.state_type

    @property
    def resources(self) -> tuple[ResourceParameter, ...]:
        """The parameters that take resources."""
        return self.signature.resources

    @property
    def join(self) -> bool:
        """Whether the step takes a list of events."""
        return self.signature.join

    @property
    def accepts(self) -> tuple[type[Event], ...]:
        """The event types that the step takes."""
        return self.signature.accepts

    @property
    def returns(self) -> tuple[type[Event], ...]:
        """The event types that the step may return one of."""
        return self.signature.returns

    @property
    def returns_list(self) -> tuple[type[Event], ...]:
        """The member types of the lists that the step may return."""
        return self.signature.returns_list

    @property
    def retry_policy(self) -> RetryPolicy | None:
        """What decides whether a failed attempt is followed by another."""
        return self.options.retry_policy


class StepMark:
    """What a decorator leaves on a function; reads its annotations at once, or when they can be read."""

    def __init__(self, function: Callable[..., Any], options: StepOptions, scopes: Sequence[FrameType]) -> None:
        self._function = function
        self._options = options
        # Kept only while annotations wait for names that the author's scope has yet to define.
        self._scopes: Sequence[FrameType] = scopes
        self._spec: StepSpec | None = None
        with suppress(NameError):
            self._read()

    def spec(self) -> StepSpec:
        """The step's spec.

        Raises:
            WorkflowValidationError: an annotation uses a name that is not defined.
        """
        try:
            return self._spec or self._read()
        except NameError as error:
            raise WorkflowValidationError(
                f"Step {self._function.__name__!r} uses the name {error.name!r} in an annotation, and no such name is "
                "defined: define it in the module, or in the function around the flow, or import it outside of "
                "TYPE_CHECKING."
            ) from error

    def _read(self) -> StepSpec:
        names: dict[str, Any] = {}
        for frame in reversed(self._scopes):
            names.update(frame.f_locals)
        function = self._function
        signature = read_signature(function, names)
        takes_failure = len(signature.parameters) == 1 and signature.accepts == (StepFailedEvent,)
        if self._options.role == "catch_error" and (signature.join or not takes_failure):
            raise WorkflowValidationError(
                f"Handler {function.__name__!r} does not take the failure: annotate its event parameter with "
                "StepFailedEvent."
            )
        text = (function.__doc__ or "").strip()
        first_line = text.splitlines()[0].strip() if text else ""
        self._spec = StepSpec(function.__name__, function, signature, self._options, first_line)
        self._scopes = ()
        return self._spec


def step_mark(function: object) -> StepMark | None:
    """The mark that a decorator left on a function, if one did."""
    return cast("StepMark | None", getattr(function, MARK, None))
