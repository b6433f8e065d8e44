"""How many steps a worker runs at one time: a number, limits of single steps, or as many as memory and CPU allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio.worker import (
    FixedSizeSlotSupplier,
    ResourceBasedSlotConfig,
    ResourceBasedSlotSupplier,
    ResourceBasedTunerConfig,
    WorkerTuner,
)

from everstep.errors import WorkflowConfigurationError
from everstep.temporal import names
from everstep.temporal.step_gate import StepGate
from everstep.workflow import Workflow

MAX_CONCURRENT_STEPS = 100
"""How many steps a worker runs at one time, unless it is told otherwise."""

RUN_SLOTS = 100
"""How many runs a worker moves on at one time, and how many local steps it runs: the SDK's own default."""

TARGET_MEMORY, TARGET_CPU = 0.8, 0.9
"""Up to which share of the machine is used where only the other target is given."""

RAMP = timedelta(milliseconds=50)
"""Time between two more steps under targets, so that what the first one takes is seen before the next is begun."""


@dataclass(frozen=True, slots=True)
class StepSlots:
    """How many steps a worker runs at one time.

    `total` is the most of all steps together. `by_step` are limits of single steps, by ``Flow.step``: a step at its
    limit holds up no other. With `target_memory` or `target_cpu`, shares of the machine between 0 and 1, steps are
    begun only while less than that is in use.

    Example:
        >>> StepSlots(20, {"RagFlow.answer": 4})
    """

    total: int = MAX_CONCURRENT_STEPS
    by_step: Mapping[str, int] = field(default_factory=dict[str, int])
    target_memory: float | None = None
    target_cpu: float | None = None

    @property
    def by_resources(self) -> bool:
        """Whether memory and CPU decide too."""
        return self.target_memory is not None or self.target_cpu is not None

    def check(self, flows: Sequence[Workflow]) -> None:
        """Refuse limits of steps that these flows do not have.

        Raises:
            WorkflowConfigurationError: one is unknown, or local.
        """
        steps = {
            names.step_activity(flow.workflow_name, step.name): step
            for flow in flows
            for step in flow.definition.steps.values()
        }
        for name in self.by_step:
            step = steps.get(name)
            if step is None:
                raise WorkflowConfigurationError(
                    f"There is no step {name!r} to limit: name it as Flow.step, one of {', '.join(steps)} "
                    "(EVERSTEP_STEP_CONCURRENCY)."
                )
            if step.local:
                raise WorkflowConfigurationError(
                    f"Step {name} is local=True and runs where its run does: its concurrency cannot be limited. "
                    "Leave it out of EVERSTEP_STEP_CONCURRENCY, or remove local=True."
                )

    def gate(self) -> StepGate:
        """What lets steps in: so many as the SDK has slots, but for those whose code still runs after its end."""
        return StepGate(self.by_step, self.total)

    def worker_options(self, gate: StepGate) -> dict[str, Any]:
        """Arguments of a `temporalio.worker.Worker` that keep to this."""
        fixed = FixedSizeSlotSupplier(RUN_SLOTS)
        if self.by_resources:
            supplier = ResourceBasedSlotSupplier(
                ResourceBasedSlotConfig(minimum_slots=1, maximum_slots=self.total, ramp_throttle=RAMP),
                ResourceBasedTunerConfig(self.target_memory or TARGET_MEMORY, self.target_cpu or TARGET_CPU),
            )
        elif self.by_step:
            supplier = gate.slots
        else:
            return {"max_concurrent_activities": self.total}
        return {
            "tuner": WorkerTuner.create_composite(
                workflow_supplier=fixed,
                activity_supplier=supplier,
                local_activity_supplier=fixed,
                nexus_supplier=fixed,
            )
        }
