"""The fixtures that users have."""

from everstep.testing.fixtures import (
    dev_server_env,
    everstep_dev_server,
    everstep_test_server,
    flow_env,
    local_env,
    time_skipping_env,
)

__all__ = [
    "dev_server_env",
    "everstep_dev_server",
    "everstep_test_server",
    "flow_env",
    "local_env",
    "time_skipping_env",
]
