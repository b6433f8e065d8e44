"""What runs flows, as their class sees it, and which one is meant where none is named.

A `Workflow` imports no driver: the in-process one is set as the default when everstep is imported, others are given to
the flow, or are current within a ``with`` block.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from everstep.errors import WorkflowConfigurationError, WorkflowRuntimeError
from everstep.event_base import Event

if TYPE_CHECKING:
    from everstep.context.snapshot import Snapshot
    from everstep.handler import WorkflowHandler
    from everstep.workflow import Workflow

R = TypeVar("R", bound="Runtime")


class Runtime(Protocol):
    """Runs flows: in process, on Temporal, or elsewhere."""

    def start(self, flow: Workflow, start_event: Event, *, run_id: str | None, ctx: Any | None) -> WorkflowHandler:
        """Begin a run, and return its handle without waiting for it.

        Args:
            flow: the instance whose steps run.
            start_event: what the run begins with.
            run_id: the run's id; None: make one.
            ctx: what the run's state begins with: a context, a model, or plain data.
        """
        ...

    def resume(self, flow: Workflow, snapshot: Snapshot, *, run_id: str | None) -> WorkflowHandler:
        """Go on with a run that was taken down.

        Args:
            flow: the instance whose steps run.
            snapshot: what was taken down.
            run_id: the run's id; None: the one that it had.

        Raises:
            ContextStateError: this runtime cannot.
        """
        ...


def require_loop(flow: Workflow) -> asyncio.AbstractEventLoop:
    """The running event loop.

    Raises:
        WorkflowRuntimeError: there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise WorkflowRuntimeError(
            f"{flow.workflow_name}.run() needs a running event loop; call it from async code, for example "
            "asyncio.run(main())"
        ) from None


_current: ContextVar[Runtime | None] = ContextVar("everstep_runtime", default=None)
_default_factory: Callable[[], Runtime] | None = None
_default: Runtime | None = None


@contextmanager
def use_runtime(runtime: R) -> Generator[R]:
    """Make `runtime` the current one within the block, for the flows that name none.

    Example: `with use_runtime(TemporalRuntime(client)): result = await MyFlow().run()`
    """
    token = _current.set(runtime)
    try:
        yield runtime
    finally:
        _current.reset(token)


def current_runtime() -> Runtime:
    """The runtime of the block around, else the default one.

    Raises:
        WorkflowConfigurationError: there is none.
    """
    global _default
    runtime = _current.get()
    if runtime is not None:
        return runtime
    if _default is None:
        if _default_factory is None:
            raise WorkflowConfigurationError(
                "There is no runtime to run flows with: import everstep, which brings the in-process one, or give one, "
                "as in MyFlow(runtime=...)."
            )
        _default = _default_factory()
    return _default


def set_default_runtime(factory: Callable[[], Runtime]) -> None:
    """Set what makes the runtime for flows that name none, where none is current. It is called once, at first use."""
    global _default_factory, _default
    _default_factory = factory
    _default = None
