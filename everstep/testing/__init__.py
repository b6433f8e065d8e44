"""What tests of flows need: a runner, step fakes, a clock that skips time, servers, a check of histories.

pytest is needed for `everstep.testing.fixtures` alone.
"""

from everstep.testing.clock import SkippingClock
from everstep.testing.environment import (
    FlowEnvironment,
    LocalEnvironment,
    TemporalEnvironment,
    TimeSkippingEnvironment,
)
from everstep.testing.fakes import Fakes, fake_steps
from everstep.testing.replay import assert_replays, fetch_history
from everstep.testing.runner import WorkflowTestResult, WorkflowTestRunner
from everstep.testing.skipping_server import time_skipping_server
from everstep.testing.time_skipping import SkipWhileWaiting

__all__ = [
    "Fakes",
    "FlowEnvironment",
    "LocalEnvironment",
    "SkipWhileWaiting",
    "SkippingClock",
    "TemporalEnvironment",
    "TimeSkippingEnvironment",
    "WorkflowTestResult",
    "WorkflowTestRunner",
    "assert_replays",
    "fake_steps",
    "fetch_history",
    "time_skipping_server",
]
