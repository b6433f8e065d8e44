"""When a failed step is tried again: conditions, waits and stops, each small, composed into one policy.

`retry_policy(retry=, wait=, stop=)` asks in this order: does the condition want this error retried, how long is the
wait, do we stop instead. Conditions and stops compose by `|` and `&`, waits by `+`. All times are in seconds, or
timedeltas where they are given.
"""

# ruff: noqa: N802  The names of the two old policies are those of the classes that they once were.

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from everstep.retry.conditions import (
    RetryCondition,
    retry_all,
    retry_always,
    retry_any,
    retry_if_exception,
    retry_if_exception_cause_type,
    retry_if_exception_message,
    retry_if_exception_type,
    retry_if_not_exception_message,
    retry_if_not_exception_type,
    retry_never,
    retry_unless_exception_type,
)
from everstep.retry.retry_after import retry_after_of
from everstep.retry.stops import (
    StopCondition,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    stop_any,
    stop_before_delay,
    stop_never,
)
from everstep.retry.waits import (
    Seconds,
    WaitStrategy,
    wait_after,
    wait_chain,
    wait_combine,
    wait_exponential,
    wait_exponential_jitter,
    wait_fixed,
    wait_full_jitter,
    wait_incrementing,
    wait_none,
    wait_random,
    wait_random_exponential,
    wait_retry_after,
)

__all__ = [
    "ConstantDelayRetryPolicy",
    "ExponentialBackoffRetryPolicy",
    "RetryCondition",
    "RetryInfo",
    "RetryPolicy",
    "Seconds",
    "StopCondition",
    "WaitStrategy",
    "retry_after_of",
    "retry_all",
    "retry_always",
    "retry_any",
    "retry_if_exception",
    "retry_if_exception_cause_type",
    "retry_if_exception_message",
    "retry_if_exception_type",
    "retry_if_not_exception_message",
    "retry_if_not_exception_type",
    "retry_never",
    "retry_policy",
    "retry_unless_exception_type",
    "stop_after_attempt",
    "stop_after_delay",
    "stop_all",
    "stop_any",
    "stop_before_delay",
    "stop_never",
    "wait_chain",
    "wait_combine",
    "wait_exponential",
    "wait_exponential_jitter",
    "wait_fixed",
    "wait_full_jitter",
    "wait_incrementing",
    "wait_none",
    "wait_random",
    "wait_random_exponential",
    "wait_retry_after",
]


@dataclass(frozen=True, slots=True)
class RetryInfo:
    """Where an invocation stands with its attempts.

    Attributes:
        retry_number: 0 on the first attempt, 1 on the first retry, and so on.
        elapsed_seconds: since the first attempt began.
        last_exception: what the attempt before raised; None on the first.
        last_failed_at: when it did, with time zone; None on the first.
    """

    retry_number: int = 0
    elapsed_seconds: float = 0.0
    last_exception: Exception | None = None
    last_failed_at: datetime | None = None


@runtime_checkable
class RetryPolicy(Protocol):
    """Anything that can say whether and when a failed step is tried again."""

    def next(self, elapsed_time: float, attempts: int, error: Exception, *, seed: int | None = None) -> float | None:
        """The seconds to wait before the next attempt, or None to give up.

        Args:
            elapsed_time: seconds since the first attempt began.
            attempts: how often the step was tried; 1 after the first failure.
            error: what the last attempt raised.
            seed: makes random waits repeatable.
        """
        ...


@dataclass(frozen=True, slots=True)
class ComposedRetryPolicy:
    """What `retry_policy` makes."""

    retry: RetryCondition | None
    wait: WaitStrategy
    stop: StopCondition

    def next(self, elapsed_time: float, attempts: int, error: Exception, *, seed: int | None = None) -> float | None:
        """See `RetryPolicy.next`."""
        if self.retry is not None and not self.retry(error):
            return None
        retries = max(attempts - 1, 0)
        delay = wait_after(self.wait, error, retries, seed=seed)
        return None if self.stop(attempts, elapsed_time, upcoming_sleep=delay) else delay


def retry_policy(
    retry: RetryCondition | None = None,
    wait: WaitStrategy | None = None,
    stop: StopCondition | None = None,
) -> RetryPolicy:
    """A policy made of its three parts.

    Args:
        retry: which errors are worth another attempt; by default all.
        wait: how long to wait before it; by default 5 seconds.
        stop: when to give up; by default after 3 attempts.

    Example:
        >>> policy = retry_policy(
        ...     retry=retry_if_exception_type((TimeoutError, ConnectionError)),
        ...     wait=wait_exponential(max=30) + wait_random(0, 1),
        ...     stop=stop_after_attempt(5) | stop_before_delay(120),
        ... )
        >>> policy.next(0.0, 1, ValueError("no")) is None
        True
    """
    return ComposedRetryPolicy(retry, wait or wait_fixed(5), stop or stop_after_attempt(3))


def ConstantDelayRetryPolicy(maximum_attempts: int = 3, delay: float = 5) -> RetryPolicy:
    """Try `maximum_attempts` times, `delay` seconds apart. Deprecated: compose a `retry_policy`."""
    _deprecated("ConstantDelayRetryPolicy", "retry_policy(wait=wait_fixed(delay), stop=stop_after_attempt(n))")
    return retry_policy(wait=wait_fixed(delay), stop=stop_after_attempt(maximum_attempts))


def ExponentialBackoffRetryPolicy(
    maximum_attempts: int = 5,
    initial_delay: float = 1.0,
    multiplier: float = 2.0,
    max_delay: float = 60.0,
    jitter: bool = True,
) -> RetryPolicy:
    """Try `maximum_attempts` times with growing delays, random ones with `jitter`. Deprecated: see `retry_policy`."""
    _deprecated("ExponentialBackoffRetryPolicy", "retry_policy(wait=wait_exponential(...), stop=stop_after_attempt(n))")
    kind = wait_random_exponential if jitter else wait_exponential
    wait = kind(multiplier=initial_delay, exp_base=multiplier, max=max_delay)
    return retry_policy(wait=wait, stop=stop_after_attempt(maximum_attempts))


def _deprecated(name: str, instead: str) -> None:
    warnings.warn(f"{name} is deprecated: use {instead}.", DeprecationWarning, stacklevel=3)
