"""How a run in process that failed is told: its terminal event, and what is raised to whoever awaits it."""

from __future__ import annotations

from typing import Any

from everstep.engine.commands import FailRun
from everstep.errors import RequestExpiredError, WorkflowRuntimeError
from everstep.exception_data import exception_to_data


def failure(command: FailRun, raised: Exception | None, flow: str) -> tuple[dict[str, Any], Exception]:
    """The data of a `WorkflowFailedEvent`, and the error: what the step itself `raised`, where one failed."""
    failed = command.failure
    error: Exception = WorkflowRuntimeError(command.message)
    if command.kind == "expired":
        error = RequestExpiredError(command.message)
    elif failed is not None and raised is not None:
        error = raised
        error.add_note(f"in step {command.step!r} of {flow}, given {command.event}")
    data = {
        "step_name": command.step or "",
        "exception": failed.exception if failed else exception_to_data(error),
        "traceback": failed.traceback if failed else "",
        "attempts": failed.attempts if failed else None,
        "elapsed_seconds": failed.elapsed if failed else None,
    }
    return data, error
