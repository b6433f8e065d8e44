"""everstep: event-driven AI workflows, in your process while you develop, durable on Temporal in production.

Write a class whose `@step` methods take an event and return the next one; run it anywhere.
"""

from everstep.context import Context
from everstep.decorators import catch_error, step
from everstep.local import LocalRuntime
from everstep.runtime import set_default_runtime, use_runtime
from everstep.workflow import Workflow

__all__ = ["Context", "LocalRuntime", "Workflow", "catch_error", "step", "use_runtime"]

set_default_runtime(LocalRuntime)
