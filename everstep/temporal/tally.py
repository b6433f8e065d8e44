"""What ended the earlier attempts of an activity: kept in its heartbeat details, which survive attempts.

A local activity has no heartbeats, but its attempts are all on one worker, which keeps their tally in memory.

Only failures of the step itself count for its retry policy. Lost workers are those attempts of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from temporalio import activity

LOST_WORKERS_ALLOWED = 3
"""How many workers an invocation may lose before it counts as what kills them."""

LOCAL_TALLIES_KEPT = 10_000
"""How many invocations a worker remembers whose next attempt may never come, because the run has ended."""


@dataclass(slots=True)
class Tally:
    """Counts over all attempts of one activity.

    `accounted` are the attempts whose end is known; `failures` those tries that the step itself failed (several may fit
    into one attempt); `error` is the last of them. `repeated` are tries that needed no attempt of their own. `known`
    is the last attempt whose end is known.
    """

    accounted: int = 0
    failures: int = 0
    failed_at: float | None = None
    error: dict[str, Any] | None = None
    repeated: int = 0
    known: int = 0

    @classmethod
    def read(cls, details: Sequence[Any]) -> Tally:
        """The tally that the last attempt left, or a new one."""
        if details and isinstance(details[0], Mapping) and "accounted" in details[0]:
            known: Mapping[str, Any] = details[0]  # pyright: ignore[reportUnknownVariableType]
            return cls(**{name: known[name] for name in cls.__dataclass_fields__ if name in known})
        return cls()

    def lost(self, attempt: int) -> int:
        """How many of the attempts before number `attempt` ended with their worker."""
        return attempt - 1 - self.accounted

    def account(self) -> None:
        """This attempt's end is known: record it before it ends."""
        self.accounted += 1
        self.known = activity.info().attempt
        self.beat()

    def beat(self) -> None:
        """Heartbeat with the tally as it is."""
        activity.heartbeat(asdict(self))


class LocalTallies:
    """The tallies of local activities between their attempts.

    Where one is not known, because the run has come from another worker, every attempt before counts as a failure.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str | None, str], Tally] = {}

    def take(self, info: activity.Info) -> Tally:
        """What was kept at the end of the attempt before, or a new one."""
        kept = self._kept.pop((info.workflow_run_id, info.activity_id), None)
        return kept or Tally(accounted=info.attempt - 1, failures=info.attempt - 1)

    def keep(self, info: activity.Info, tally: Tally) -> None:
        """This attempt ends and another one follows."""
        self._kept[info.workflow_run_id, info.activity_id] = tally
        if len(self._kept) > LOCAL_TALLIES_KEPT:
            del self._kept[next(iter(self._kept))]
