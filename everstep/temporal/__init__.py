"""The Temporal driver: flows as workflows, steps as activities, people's answers as signals and updates."""

from everstep.temporal.boundary import Limits
from everstep.temporal.runtime import TemporalRuntime
from everstep.temporal.worker import EverstepPlugin, serving

__all__ = ["EverstepPlugin", "Limits", "TemporalRuntime", "serving"]
