"""The parts of a retry policy: conditions, waits and stops. Their public door is `everstep.retry_policy`."""
