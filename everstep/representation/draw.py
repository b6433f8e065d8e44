"""Pictures into files, under the names that LlamaIndex's drawing utilities have."""

from __future__ import annotations

from pathlib import Path

from everstep.errors import WorkflowRuntimeError
from everstep.handler import WorkflowHandler
from everstep.local.handler import LocalHandler
from everstep.representation.build import get_run_representation, get_workflow_representation
from everstep.representation.mermaid import to_mermaid
from everstep.representation.page import to_html
from everstep.representation.shown import shortened
from everstep.workflow import Workflow


def draw_all_possible_flows(
    workflow: Workflow | type[Workflow],
    filename: str = "workflow_all_flows.html",
    notebook: bool = False,
    max_label_length: int | None = None,
) -> None:
    """Write a page with the picture of a flow: all ways that a run may take.

    Args:
        workflow: the flow's class, or an instance.
        filename: where to; an older file is replaced.
        notebook: taken for the sake of code that gives it; the page is the same.
        max_label_length: longer names are cut.
    """
    graph = shortened(get_workflow_representation(workflow), max_label_length)
    Path(filename).write_text(to_html(graph), encoding="utf-8")


def draw_all_possible_flows_mermaid(
    workflow: Workflow | type[Workflow],
    filename: str | None = "workflow_all_flows.mermaid",
    max_label_length: int | None = None,
) -> str:
    """The picture of a flow as Mermaid text; written to a file, too.

    Args:
        workflow: the flow's class, or an instance.
        filename: where to; an older file is replaced. None: nowhere.
        max_label_length: longer names are cut.
    """
    text = to_mermaid(shortened(get_workflow_representation(workflow), max_label_length))
    if filename is not None:
        Path(filename).write_text(text, encoding="utf-8")
    return text


def draw_most_recent_execution(
    handler: WorkflowHandler,
    filename: str = "workflow_recent_execution.html",
    notebook: bool = False,
    max_label_length: int | None = None,
) -> None:
    """Write a page with the way that a run in this process took, so far; `draw_run` draws any run.

    Args:
        handler: what `run` gave.
        filename: where to; an older file is replaced.
        notebook: taken for the sake of code that gives it; the page is the same.
        max_label_length: longer names are cut.

    Raises:
        WorkflowRuntimeError: the run is on Temporal; its history cannot be read without waiting for it.
    """
    if not isinstance(handler, LocalHandler):
        raise WorkflowRuntimeError(
            f"Run {handler.run_id} is not in this process, and its history has to be waited for: use "
            f"await draw_run(handler, {filename!r})."
        )
    graph = shortened(get_run_representation(handler.path_now), max_label_length)
    Path(filename).write_text(to_html(graph), encoding="utf-8")


async def draw_run(
    handler: WorkflowHandler,
    filename: str = "workflow_recent_execution.html",
    *,
    max_label_length: int | None = None,
) -> None:
    """Write a page with the way that a run took, so far, wherever it runs.

    Args:
        handler: what `run` gave, or `TemporalRuntime.handle`.
        filename: where to; an older file is replaced.
        max_label_length: longer names are cut.

    Raises:
        RunNotFoundError: there is no such run.
        WorkflowRuntimeError: it has not begun yet.

    Example: `await draw_run(handler, "run.html")`
    """
    graph = shortened(get_run_representation(await handler.path()), max_label_length)
    Path(filename).write_text(to_html(graph), encoding="utf-8")
