"""Whether what a step writes has room in the run's state, which travels as one payload where it is read.

The size in bytes is known as an upper bound, which grows with what is written; the state is measured only when that
passes the limit, so that an event costs what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence

from everstep.engine import paths
from everstep.engine.messages import Failure, StateChange
from everstep.engine.run import Run

_FIRST_PROTOCOL = 3
"""Runs of older protocols go on as they began: without a bound."""


def bound(run: Run, limit: int | None) -> None:
    """Let the state have at most so many bytes; None where there is no bound."""
    run.state_limit = limit if run.protocol >= _FIRST_PROTOCOL else None


def refusal(run: Run, step: str, changes: Sequence[StateChange], attempts: int = 1) -> Failure | None:
    """Why the state has no room for these changes, or None: then they are counted, and have to be made."""
    limit = run.state_limit
    if limit is None or not changes:
        return None
    ceiling = run.state_ceiling + sum(map(_most, changes))
    if ceiling > limit:
        after = paths.copied(run.state)
        for change in changes:
            paths.change(after, change)
        ceiling = paths.size_in_bytes(after)
        if ceiling > limit:
            return Failure(
                "PayloadTooLarge",
                f"step {step!r} makes the run's state {ceiling:,} bytes large, over the server's limit of {limit:,} "
                "for what travels as one. Keep references in the state instead of contents, delete what is no longer "
                "needed, or set up external storage for payloads",
                attempts,
            )
    run.state_ceiling = ceiling
    return None


def _most(change: StateChange) -> int:
    """By how many bytes a change makes the state longer, at most."""
    if change[0] != "set":
        return 0
    _, path, value = change
    keys = 6 * (path.count(".") + 1)  # of each quotes, colon, comma and braces
    return paths.size_in_bytes(value) + paths.size_in_bytes(path) + keys
