"""The type of a flow's state: what its steps declare by ``Context[MyState]``, put together."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from everstep.errors import WorkflowValidationError
from everstep.step_spec import StepSpec


def state_type_of(flow: str, specs: Iterable[StepSpec]) -> type[BaseModel] | None:
    """The most derived of the state types that steps declare, which all of them see; None where none declares one.

    Args:
        flow: the flow's name, for messages.
        specs: its steps.

    Raises:
        WorkflowValidationError: a state type is no pydantic model, or two are unrelated.
    """
    found: type[BaseModel] | None = None
    declared_by = ""
    for spec in specs:
        kind = spec.state_type
        if not isinstance(kind, type):  # Context[Any], or Context[T] in a generic base
            continue
        if not issubclass(kind, BaseModel):
            raise WorkflowValidationError(
                f"Step {spec.name!r} of {flow} declares Context[{kind.__name__}]: a state type is a pydantic model; "
                f"derive {kind.__name__} from pydantic.BaseModel."
            )
        if found is None or issubclass(kind, found):
            found, declared_by = kind, spec.name
        elif not issubclass(found, kind):
            raise WorkflowValidationError(
                f"Steps {declared_by!r} and {spec.name!r} of {flow} declare the unrelated state types "
                f"{found.__name__} and {kind.__name__}: a run has one state; derive one of them from the other."
            )
    return found
