"""Functions that stand in for steps, for as long as a test says so; see `everstep.testing.fake_steps`.

They are looked up at each attempt, in the whole process: so the steps of workers that serve already have them, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from everstep.step_spec import StepSpec

_standing_in: list[tuple[object, Mapping[str, StepSpec]]] = []


def put(flow: object, specs: Mapping[str, StepSpec]) -> None:
    """Let these stand in for steps of a flow: of a class and its subclasses, or of one instance."""
    _standing_in.append((flow, specs))


def take_back(specs: Mapping[str, StepSpec]) -> None:
    """Let the steps themselves run again."""
    _standing_in[:] = [(flow, others) for flow, others in _standing_in if others is not specs]


def standing_in(flow: object, spec: StepSpec) -> StepSpec:
    """What runs as a step of a flow's instance: the step itself, or what was last put in its place."""
    if not _standing_in:
        return spec
    for whose, specs in reversed(_standing_in):
        if spec.name in specs and (flow is whose or (isinstance(whose, type) and isinstance(flow, whose))):
            return specs[spec.name]
    return spec
