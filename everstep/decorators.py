"""`@step` and `@catch_error`: a function becomes a step of a flow, its signature a `StepSpec`.

Annotations are read at once where they can be; those that name something not yet defined, when the flow is compiled.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from everstep.errors import WorkflowValidationError
from everstep.retry_policy import RetryPolicy
from everstep.signature import is_free_function
from everstep.step_spec import MARK, StepMark, StepOptions

if TYPE_CHECKING:
    from everstep.workflow import Workflow

F = TypeVar("F", bound=Callable[..., Any])

WorkflowGraphCheck = Literal["reachability", "terminal_event", "dead_end"]
"""A check of the graph that a flow may be excused from as a whole."""

StepGraphCheck = Literal["reachability", "dead_end"]
"""A check of the graph that a step may be excused from."""

_GRAPH_CHECKS = ("reachability", "dead_end")


@overload
def step(func: F) -> F: ...
@overload
def step(
    *,
    workflow: type[Workflow] | None = None,
    num_workers: int = 4,
    retry_policy: RetryPolicy | None = None,
    timeout: float | timedelta | None = None,
    task_queue: str | None = None,
    local: bool = False,
    skip_graph_checks: Sequence[StepGraphCheck] | None = None,
    accept_event_subclasses: bool = False,
    formerly: Sequence[str] | None = None,
) -> Callable[[F], F]: ...
def step(
    func: F | None = None,
    *,
    workflow: type[Workflow] | None = None,
    num_workers: int = 4,
    retry_policy: RetryPolicy | None = None,
    timeout: float | timedelta | None = None,
    task_queue: str | None = None,
    local: bool = False,
    skip_graph_checks: Sequence[StepGraphCheck] | None = None,
    accept_event_subclasses: bool = False,
    formerly: Sequence[str] | None = None,
) -> F | Callable[[F], F]:
    """Make a function a step: it takes an event and returns the next one.

    The annotations say what it takes and returns: an event parameter (a type, a union, or ``list[E]`` to join a
    stream) or several, which start the step when one event for each has come; a `Context` if it wants one; a return of
    an event, a union, ``list[E]`` to open a stream, or None.

    Args:
        workflow: the flow to add it to, for a function outside of a class.
        num_workers: how many invocations of it may run at one time, in one run.
        retry_policy: decides after each failure whether and when to try again; without one, a step is tried once.
        timeout: bounds one attempt: seconds or a timedelta.
        task_queue: runs it on the workers of this Temporal task queue.
        local: runs it in the workflow's own worker, without a task of its own: for short steps.
        skip_graph_checks: the checks that it is excused from: ``"reachability"``, ``"dead_end"``.
        accept_event_subclasses: take subclasses of the annotated events too.
        formerly: the names that it had in earlier versions: it is run for runs that began with those, under the
            idempotency keys that they have there.

    Raises:
        WorkflowValidationError: the function or an argument cannot make a step.

    Example:
        >>> class Hello(Workflow):
        ...     @step
        ...     async def greet(self, ev: StartEvent) -> StopEvent:
        ...         return StopEvent(result=f"Hello, {ev.name}!")
    """

    def decorate(function: F) -> F:
        name = _checked_function(function, "@step")
        _check_options(name, num_workers, retry_policy, timeout, task_queue, local)
        options = StepOptions(
            num_workers=num_workers,
            retry_policy=retry_policy,
            timeout=_seconds(timeout),
            task_queue=task_queue,
            local=local,
            skip_graph_checks=_checked_skips(name, skip_graph_checks),
            accept_event_subclasses=accept_event_subclasses,
            formerly=_checked_names(name, formerly),
        )
        return _marked(function, options, workflow)

    return decorate if func is None else decorate(func)


@overload
def catch_error(func: F) -> F: ...
@overload
def catch_error(
    *,
    for_steps: Sequence[str] | None = None,
    max_recoveries: int = 1,
    workflow: type[Workflow] | None = None,
    num_workers: int = 1,
    retry_policy: RetryPolicy | None = None,
    timeout: float | timedelta | None = None,
    task_queue: str | None = None,
    formerly: Sequence[str] | None = None,
) -> Callable[[F], F]: ...
def catch_error(
    func: F | None = None,
    *,
    for_steps: Sequence[str] | None = None,
    max_recoveries: int = 1,
    workflow: type[Workflow] | None = None,
    num_workers: int = 1,
    retry_policy: RetryPolicy | None = None,
    timeout: float | timedelta | None = None,
    task_queue: str | None = None,
    formerly: Sequence[str] | None = None,
) -> F | Callable[[F], F]:
    """Make a function the handler of steps that have failed for good: it takes a `StepFailedEvent`.

    What it returns goes on in place of what the failed step would have returned. If it raises, the run fails.

    Args:
        for_steps: the names of the steps that it covers; None: all that no other handler names.
        max_recoveries: how often it may recover along one line of events, before the run fails after all.
        workflow: the flow to add it to, for a function outside of a class.
        num_workers: as for `step`.
        retry_policy: as for `step`.
        timeout: as for `step`.
        task_queue: as for `step`.
        formerly: as for `step`.

    Raises:
        WorkflowValidationError: the function or an argument cannot make a handler.

    Example:
        >>> class Careful(Workflow):
        ...     @catch_error(for_steps=["fetch"])
        ...     async def fall_back(self, ev: StepFailedEvent) -> StopEvent:
        ...         return StopEvent(result=f"{ev.step_name}: {ev.exception}")
    """

    def decorate(function: F) -> F:
        name = _checked_function(function, "@catch_error")
        _check_options(name, num_workers, retry_policy, timeout, task_queue, local=False)
        if isinstance(max_recoveries, bool) or max_recoveries < 1:
            raise WorkflowValidationError(f"Handler {name!r} has max_recoveries={max_recoveries!r}: give 1 or more.")
        if isinstance(for_steps, str):
            raise WorkflowValidationError(f"Handler {name!r} has a string for for_steps: give a list of step names.")
        options = StepOptions(
            num_workers=num_workers,
            retry_policy=retry_policy,
            timeout=_seconds(timeout),
            task_queue=task_queue,
            role="catch_error",
            for_steps=None if for_steps is None else tuple(for_steps),
            max_recoveries=max_recoveries,
            formerly=_checked_names(name, formerly),
        )
        return _marked(function, options, workflow)

    return decorate if func is None else decorate(func)


def _marked(function: F, options: StepOptions, workflow: type[Workflow] | None) -> F:
    free = is_free_function(function)
    if free and workflow is None:
        raise WorkflowValidationError(
            f"Step {function.__name__!r} stands outside of a class: say which flow it belongs to, as in "
            "@step(workflow=MyFlow), or make it a method."
        )
    if not free and workflow is not None:
        raise WorkflowValidationError(
            f"Step {function.__name__!r} is a method, and belongs to its class: leave out workflow=."
        )
    setattr(function, MARK, StepMark(function, options, _scopes_of(function)))
    if workflow is not None:
        workflow.add_step(function)
    return function


def _scopes_of(function: Callable[..., Any]) -> list[FrameType]:
    """The running scopes around a function, innermost first: the class body, the functions around it."""
    scopes: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(32):
        if frame is None:
            break
        name = frame.f_code.co_qualname
        if frame.f_globals is function.__globals__ and function.__qualname__.startswith(name + "."):
            scopes.append(frame)
        frame = frame.f_back
    return scopes


def _checked_function(function: object, decorator: str) -> str:
    if isinstance(function, staticmethod | classmethod):
        inner: Any = cast("Any", function).__func__
        kind = "staticmethod" if isinstance(function, staticmethod) else "classmethod"
        raise WorkflowValidationError(
            f"Step {inner.__name__!r} is a {kind}: make it a method that takes self, or a "
            f"function with {decorator}(workflow=...)."
        )
    if not callable(function) or not hasattr(function, "__qualname__") or isinstance(function, type):
        raise WorkflowValidationError(f"{decorator} is for functions, and {function!r} is none: decorate a method.")
    return cast("Any", function).__name__


def _check_options(
    name: str,
    num_workers: int,
    retry_policy: object,
    timeout: float | timedelta | None,
    task_queue: object,
    local: bool,
) -> None:
    faults: list[str] = []
    if isinstance(num_workers, bool) or not isinstance(cast("object", num_workers), int) or num_workers < 1:
        faults.append(f"num_workers={num_workers!r}: give a whole number above 0")
    seconds = _seconds(timeout)
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        faults.append(f"timeout={timeout!r}: give seconds or a timedelta above 0, or leave it out")
    if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
        faults.append(f"retry_policy={retry_policy!r}: give an object with next(), such as retry_policy(...) makes")
    if task_queue is not None and not (isinstance(task_queue, str) and task_queue):
        faults.append(f"task_queue={task_queue!r}: give the name of a task queue")
    if local and task_queue is not None:
        faults.append("local=True and task_queue: a local step runs where the run does; leave out one of them")
    if faults:
        raise WorkflowValidationError(f"Step {name!r} has {'; and '.join(faults)}.")


def _checked_skips(name: str, checks: Sequence[str] | None) -> tuple[str, ...]:
    for check in checks or ():
        if check not in _GRAPH_CHECKS:
            raise WorkflowValidationError(
                f"Step {name!r} skips the check {check!r}, which is none: choose from {', '.join(_GRAPH_CHECKS)}."
            )
    return tuple(checks or ())


def _checked_names(name: str, formerly: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(formerly, str):
        raise WorkflowValidationError(f"Step {name!r} has a string for formerly: give a list of names, [{formerly!r}].")
    for former in formerly or ():
        if not isinstance(cast("object", former), str) or not former.isidentifier() or former == name:
            raise WorkflowValidationError(
                f"Step {name!r} was formerly {former!r}, it says: give names that functions can have, and not its own."
            )
    return tuple(formerly or ())


def _seconds(value: float | timedelta | None) -> float | None:
    if value is None:
        return None
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
