"""The fixtures that users have."""

from everstep.testing.fixtures import dev_server_env, everstep_dev_server

__all__ = ["dev_server_env", "everstep_dev_server"]
