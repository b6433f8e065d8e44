"""What a worker is set to: its options and environment variables, read into one value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from everstep.cli.exits import CommandError, Exit
from everstep.temporal.health import LIVE_SECONDS
from everstep.temporal.slots import MAX_CONCURRENT_STEPS

GRACE_SECONDS = 10.0
"""What running steps get to end, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How one worker process serves. Times are in seconds; rates are steps per second; targets are shares from 0 to 1.

    `queue_steps_per_second` is kept by the server, for all workers of the task queue; what the last of them says holds.
    """

    task_queue: str | None = None
    max_concurrent_steps: int = MAX_CONCURRENT_STEPS
    step_concurrency: Mapping[str, int] = field(default_factory=dict[str, int])
    steps_per_second: float | None = None
    queue_steps_per_second: float | None = None
    target_memory: float | None = None
    target_cpu: float | None = None
    steps_only: bool = False
    graceful_shutdown: float = GRACE_SECONDS
    wait_for_server: float = 60.0
    health_address: tuple[str, int] | None = None
    liveness_bound: float = LIVE_SECONDS

    def serving(self) -> dict[str, Any]:
        """The arguments of `everstep.temporal.serving` that it stands for."""
        return {
            "max_concurrent_steps": self.max_concurrent_steps,
            "step_concurrency": self.step_concurrency,
            "target_memory": self.target_memory,
            "target_cpu": self.target_cpu,
            "steps_only": self.steps_only,
            "graceful_shutdown": self.graceful_shutdown,
            "max_activities_per_second": self.steps_per_second,
            "max_task_queue_activities_per_second": self.queue_steps_per_second,
        }

    def told(self) -> str:
        """How many steps it runs, and how fast, in a line for people."""
        parts = [f"up to {self.max_concurrent_steps} steps at a time"]
        parts += [f"{step} at most {limit}" for step, limit in self.step_concurrency.items()]
        if self.target_memory is not None:
            parts.append(f"while memory is below {self.target_memory:.0%}")
        if self.target_cpu is not None:
            parts.append(f"while CPU is below {self.target_cpu:.0%}")
        if self.steps_per_second is not None:
            parts.append(f"{self.steps_per_second:g} steps per second")
        if self.queue_steps_per_second is not None:
            parts.append(f"{self.queue_steps_per_second:g} per second over its task queue")
        parts.append(f"{self.graceful_shutdown:g} s for them to end when it stops")
        if self.steps_only:
            parts.append("steps only, no runs")
        return ", ".join(parts)


def split(texts: Sequence[str] | None) -> list[str]:
    """The items of a setting that takes several, separated by commas or blanks."""
    return [item.strip() for text in texts or () for item in text.split(",") if item.strip()]


def parse_concurrency(texts: Sequence[str] | None) -> dict[str, int]:
    """Limits of steps from ``Flow.step=4`` items.

    Raises:
        CommandError: one is no such thing.
    """
    out: dict[str, int] = {}
    for item in split(texts):
        match = re.fullmatch(r"(\w+\.\w+)\s*=\s*(\d+)", item)
        if match is None or int(match[2]) < 1:
            raise CommandError(
                f"{item!r} limits no step: write Flow.step=4, several with commas between (EVERSTEP_STEP_CONCURRENCY).",
                Exit.USAGE,
            )
        out[match[1]] = int(match[2])
    return out
