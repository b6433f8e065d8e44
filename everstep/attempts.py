"""The attempts of one invocation: how often it failed, and what its retry policy says of the next try.

Only failures of the step itself count here; lost workers, shutdowns and missing steps are the driver's business.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from zlib import crc32

from everstep.engine.messages import Failure
from everstep.errors import WorkflowRuntimeError
from everstep.exception_data import (
    causes_to_data,
    exception_from_data,
    exception_to_data,
    traceback_text,
)
from everstep.retry_policy import RetryInfo, RetryPolicy


@dataclass(slots=True)
class Attempts:
    """Counts failures and asks the policy. All times are epoch seconds.

    Args:
        policy: the step's retry policy; None means no retry.
        seed: makes random delays repeatable; see `jitter_seed`.
        started_at: when the first attempt began.
    """

    policy: RetryPolicy | None
    seed: int
    started_at: float
    failures: int = 0
    last_error: Exception | None = None
    last_failed_at: float | None = None

    @classmethod
    def going_on(
        cls, policy: RetryPolicy | None, seed: int, started_at: float, tries: Mapping[str, Any] | None
    ) -> Self:
        """The attempts of a pass that began at `started_at`; `tries` is what `tries()` gave for the pass before it."""
        if not tries:
            return cls(policy, seed, started_at)
        error = exception_from_data(tries["error"])
        return cls(policy, seed, started_at - tries["elapsed"], tries["failures"], error, tries["failed_at"])

    def tries(self, now: float) -> dict[str, Any] | None:
        """What the next pass must know: a wait does not make failures undone, and its time does not count."""
        if self.last_error is None:
            return None
        return {
            "failures": self.failures,
            "elapsed": round(now - self.started_at, 6),
            "error": exception_to_data(self.last_error),
            "failed_at": self.last_failed_at,
        }

    def failed(self, error: Exception, now: float) -> float | None:
        """Count a failure; gives the delay in seconds before the next try, or None to stop."""
        self.failures += 1
        self.last_error = error
        self.last_failed_at = now
        if self.policy is None:
            return None
        try:
            return _delay(self.policy.next(now - self.started_at, self.failures, error, seed=self.seed + self.failures))
        except Exception as fault:
            fault.add_note("raised by the step's retry_policy, which was asked about the error above")
            fault.__cause__ = fault.__cause__ or error
            self.last_error = fault
            return None

    def failure(self) -> Failure:
        """The failure for good, after the last `failed`."""
        error = self.last_error
        assert error is not None
        assert self.last_failed_at is not None
        told = exception_to_data(error)
        return Failure(
            told["type"],
            told["message"],
            self.failures,
            round(self.last_failed_at - self.started_at, 6),
            traceback_text(error),
            causes_to_data(error),
        )

    def retry_info(self, now: float) -> RetryInfo:
        """What `ctx.retry_info()` tells the next attempt."""
        return RetryInfo(
            retry_number=self.failures,
            elapsed_seconds=now - self.started_at if self.failures else 0.0,
            last_exception=self.last_error,
            last_failed_at=None if self.last_failed_at is None else datetime.fromtimestamp(self.last_failed_at, UTC),
        )


def jitter_seed(run_id: str, origin: int) -> int:
    """What makes random delays the same for all passes of one invocation, and others for any other."""
    return crc32(f"{run_id}/{origin}".encode())


def _delay(answer: Any) -> float | None:
    """A policy's answer in seconds; what is less than nothing is nothing."""
    seconds = answer.total_seconds() if isinstance(answer, timedelta) else answer
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds):
        raise WorkflowRuntimeError(
            f"the retry policy's next() gave {answer!r}: give the seconds to wait before the next try, or None for none"
        )
    return max(0.0, seconds)
