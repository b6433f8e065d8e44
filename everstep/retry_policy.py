"""When a failed step is tried again: conditions, waits and stops, each small, composed into one policy.

`retry_policy(retry=, wait=, stop=)` asks in this order: does the condition want this error retried, how long is the
wait, do we stop instead. Conditions and stops compose by `|` and `&`, waits by `+`. All times are in seconds, or
timedeltas where they are given.
"""

# ruff: noqa: N801, N802  The names are those of the field: conditions read like functions.

from __future__ import annotations

import math
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, cast, runtime_checkable

Seconds = int | float | timedelta
"""A duration: a number of seconds, or a timedelta."""

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


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


class RetryCondition(Protocol):
    """Whether an error is worth another attempt."""

    def __call__(self, error: BaseException) -> bool: ...


class WaitStrategy(Protocol):
    """How many seconds to wait before a retry; `attempts` is 0 before the first retry."""

    def __call__(self, attempts: int, *, seed: int | None = None) -> float: ...


class StopCondition(Protocol):
    """Whether to give up, after `attempts` tries, `elapsed_time` seconds, and before a wait of `upcoming_sleep`."""

    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool: ...


# Conditions


class _Condition:
    def __call__(self, error: BaseException) -> bool:
        raise NotImplementedError

    def __or__(self, other: RetryCondition) -> retry_any:
        return retry_any(self, other)

    def __ror__(self, other: RetryCondition) -> retry_any:
        return retry_any(other, self)

    def __and__(self, other: RetryCondition) -> retry_all:
        return retry_all(self, other)

    def __rand__(self, other: RetryCondition) -> retry_all:
        return retry_all(other, self)


class retry_if_exception(_Condition):
    """Retry the errors for which `predicate` is true."""

    def __init__(self, predicate: Callable[[BaseException], bool]) -> None:
        self.predicate = predicate

    def __call__(self, error: BaseException) -> bool:
        return self.predicate(error)


class retry_if_exception_type(retry_if_exception):
    """Retry errors of these types."""

    def __init__(self, exception_types: ExceptionTypes = Exception) -> None:
        self.exception_types = exception_types
        super().__init__(lambda error: isinstance(error, exception_types))


class retry_if_not_exception_type(retry_if_exception):
    """Retry all errors but those of these types."""

    def __init__(self, exception_types: ExceptionTypes = Exception) -> None:
        self.exception_types = exception_types
        super().__init__(lambda error: not isinstance(error, exception_types))


class retry_unless_exception_type(retry_if_not_exception_type):
    """Another name for `retry_if_not_exception_type`."""


class retry_if_exception_message(_Condition):
    """Retry errors whose text is `message`, or in which the regular expression `match` is found: one of the two."""

    def __init__(self, message: str | None = None, match: str | re.Pattern[str] | None = None) -> None:
        if (message is None) == (match is None):
            raise TypeError(f"{type(self).__name__}: give either message= or match=, and not both.")
        self.message = message
        self.match = match

    def __call__(self, error: BaseException) -> bool:
        text = str(error)
        return text == self.message if self.match is None else re.search(self.match, text) is not None


class retry_if_not_exception_message(retry_if_exception_message):
    """Retry errors whose text is not `message`, or in which `match` is not found."""

    def __call__(self, error: BaseException) -> bool:
        return not super().__call__(error)


class retry_if_exception_cause_type(_Condition):
    """Retry errors that were raised, at whatever remove, ``from`` one of these types."""

    def __init__(self, exception_types: ExceptionTypes = Exception) -> None:
        self.exception_types = exception_types

    def __call__(self, error: BaseException) -> bool:
        return any(isinstance(cause, self.exception_types) for cause in _causes(error))


class retry_any(_Condition):
    """Retry where at least one of these conditions would; the same as ``a | b``."""

    def __init__(self, *retries: RetryCondition) -> None:
        self.retries = retries

    def __call__(self, error: BaseException) -> bool:
        return any(retry(error) for retry in self.retries)


class retry_all(_Condition):
    """Retry where all of these conditions would; the same as ``a & b``."""

    def __init__(self, *retries: RetryCondition) -> None:
        self.retries = retries

    def __call__(self, error: BaseException) -> bool:
        return all(retry(error) for retry in self.retries)


class retry_always(_Condition):
    """Retry every error."""

    def __call__(self, error: BaseException) -> bool:
        return True


class retry_never(_Condition):
    """Retry no error."""

    def __call__(self, error: BaseException) -> bool:
        return False


# Waits


class _Wait:
    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        raise NotImplementedError

    def __add__(self, other: WaitStrategy) -> wait_combine:
        return wait_combine(self, other)

    def __radd__(self, other: WaitStrategy | int) -> WaitStrategy:
        # sum() begins with 0.
        return self if isinstance(other, int) else wait_combine(other, self)


class wait_fixed(_Wait):
    """Wait always the same time."""

    def __init__(self, wait: Seconds) -> None:
        self.wait = _seconds(wait)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return self.wait


class wait_none(wait_fixed):
    """Try again at once."""

    def __init__(self) -> None:
        super().__init__(0)


class wait_exponential(_Wait):
    """Wait `multiplier` x `exp_base`^n before retry n, counted from 0; at least `min`, at most `max`."""

    def __init__(self, multiplier: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, min: Seconds = 0.0) -> None:
        self.multiplier = float(multiplier)
        self.exp_base = float(exp_base)
        self.max = _seconds(max)
        self.min = _seconds(min)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return max(0.0, self.min, min(_power(self.multiplier, self.exp_base, attempts), self.max))


class wait_incrementing(_Wait):
    """Wait `start` before the first retry, and `increment` longer before each that follows, at most `max`."""

    def __init__(self, start: Seconds = 0.0, increment: Seconds = 100.0, max: Seconds = math.inf) -> None:
        self.start = _seconds(start)
        self.increment = _seconds(increment)
        self.max = _seconds(max)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return max(0.0, min(self.start + self.increment * attempts, self.max))


class wait_random(_Wait):
    """Wait a random time between `min` and `max`."""

    def __init__(self, min: Seconds = 0.0, max: Seconds = 1.0) -> None:
        self.min = _seconds(min)
        self.max = _seconds(max)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return random.Random(seed).uniform(self.min, self.max)


class wait_exponential_jitter(_Wait):
    """Wait `initial` x `exp_base`^n and up to `jitter` more before retry n, at most `max`."""

    def __init__(self, initial: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, jitter: Seconds = 1.0) -> None:
        self.initial = float(initial)
        self.exp_base = float(exp_base)
        self.max = _seconds(max)
        self.jitter = _seconds(jitter)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        delay = _power(self.initial, self.exp_base, attempts) + random.Random(seed).uniform(0, self.jitter)
        return min(delay, self.max)


class wait_random_exponential(_Wait):
    """Wait a random time between `min` and what `wait_exponential` would wait: full jitter."""

    def __init__(self, multiplier: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, min: Seconds = 0.0) -> None:
        self.multiplier = float(multiplier)
        self.exp_base = float(exp_base)
        self.max = _seconds(max)
        self.min = _seconds(min)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        upper = max(0.0, self.min, min(_power(self.multiplier, self.exp_base, attempts), self.max))
        return random.Random(seed).uniform(self.min, upper)


def wait_full_jitter(
    multiplier: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, min: Seconds = 0.0
) -> wait_random_exponential:
    """Another name for `wait_random_exponential`."""
    return wait_random_exponential(multiplier=multiplier, exp_base=exp_base, max=max, min=min)


class wait_chain(_Wait):
    """Wait by the first strategy before the first retry, by the second before the second; the last one stays."""

    def __init__(self, *strategies: WaitStrategy) -> None:
        if not strategies:
            raise ValueError("wait_chain has no strategies: give at least one, as in wait_chain(wait_fixed(1)).")
        self.strategies = strategies

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return self.strategies[min(attempts, len(self.strategies) - 1)](attempts, seed=seed)


class wait_combine(_Wait):
    """Wait the sum of what these strategies say; the same as ``a + b``."""

    def __init__(self, *strategies: WaitStrategy) -> None:
        self.strategies = strategies

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return sum(strategy(attempts, seed=seed) for strategy in self.strategies)


class wait_retry_after(_Wait):
    """Wait as long as the error asks for; by `fallback` where it asks for nothing, and at most `max`.

    An error asks by an attribute `retry_after` (seconds, a timedelta or a datetime), or by a Retry-After header
    (seconds or a date) of its `response`; the errors that it was raised from are asked too.

    Example: `retry_policy(wait=wait_retry_after(fallback=wait_exponential()), stop=stop_after_attempt(6))`
    """

    def __init__(self, fallback: WaitStrategy | Seconds = 1.0, max: Seconds = math.inf) -> None:
        self.fallback: WaitStrategy = wait_fixed(fallback) if isinstance(fallback, Seconds) else fallback
        self.max = _seconds(max)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return self.fallback(attempts, seed=seed)

    def wait_for(self, error: BaseException, attempts: int, *, seed: int | None = None) -> float:
        """The seconds to wait before retry `attempts` after this error."""
        asked = retry_after_of(error)
        return min(self(attempts, seed=seed) if asked is None else asked, self.max)


def retry_after_of(error: BaseException) -> float | None:
    """The seconds after which an error, or one it was raised from, asks to be retried; None where none asks."""
    for each in (error, *_causes(error)):
        asked = _as_delay(getattr(each, "retry_after", None))
        if asked is None:
            response = getattr(each, "response", None)
            asked = _as_delay(_header(getattr(response, "headers", None), "retry-after"))
        if asked is not None:
            return asked
    return None


# Stops


class _Stop:
    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool:
        raise NotImplementedError

    def __or__(self, other: StopCondition) -> stop_any:
        return stop_any(self, other)

    def __ror__(self, other: StopCondition) -> stop_any:
        return stop_any(other, self)

    def __and__(self, other: StopCondition) -> stop_all:
        return stop_all(self, other)

    def __rand__(self, other: StopCondition) -> stop_all:
        return stop_all(other, self)


class stop_after_attempt(_Stop):
    """Give up when this many attempts were made, the first one counted."""

    def __init__(self, max_attempt_number: int) -> None:
        self.max_attempt_number = max_attempt_number

    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool:
        return attempts >= self.max_attempt_number


class stop_after_delay(_Stop):
    """Give up when this much time has passed since the first attempt began."""

    def __init__(self, max_delay: Seconds) -> None:
        self.max_delay = _seconds(max_delay)

    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool:
        return elapsed_time >= self.max_delay


class stop_before_delay(_Stop):
    """Give up when this much time would have passed by the time of the next attempt."""

    def __init__(self, max_delay: Seconds) -> None:
        self.max_delay = _seconds(max_delay)

    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool:
        return elapsed_time + upcoming_sleep >= self.max_delay


class stop_any(_Stop):
    """Give up where at least one of these would; the same as ``a | b``."""

    def __init__(self, *stops: StopCondition) -> None:
        self.stops = stops

    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool:
        return any(stop(attempts, elapsed_time, upcoming_sleep=upcoming_sleep) for stop in self.stops)


class stop_all(_Stop):
    """Give up where all of these would; the same as ``a & b``."""

    def __init__(self, *stops: StopCondition) -> None:
        self.stops = stops

    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool:
        return all(stop(attempts, elapsed_time, upcoming_sleep=upcoming_sleep) for stop in self.stops)


class stop_never(_Stop):
    """Never give up; let the condition, or the run's timeout, set the bound."""

    def __call__(self, attempts: int, elapsed_time: float, *, upcoming_sleep: float = 0.0) -> bool:
        return False


# The policy


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
        if isinstance(self.wait, wait_retry_after):
            delay = self.wait.wait_for(error, retries, seed=seed)
        else:
            delay = self.wait(retries, seed=seed)
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


def _seconds(value: Seconds) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _power(factor: float, base: float, exponent: int) -> float:
    try:
        return factor * base**exponent
    except OverflowError:
        return math.inf


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _header(headers: object, name: str) -> object:
    if not isinstance(headers, Mapping):
        return None
    return next((value for key, value in cast("Mapping[Any, Any]", headers).items() if str(key).lower() == name), None)


def _as_delay(asked: object) -> float | None:
    if isinstance(asked, str):
        asked = _parsed(asked)
    if isinstance(asked, datetime):
        asked = asked.timestamp() - time.time()
    if isinstance(asked, timedelta):
        asked = asked.total_seconds()
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not math.isfinite(asked):
        return None
    return max(0.0, float(asked))


def _parsed(header: str) -> float | datetime | None:
    try:
        return float(header)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(header)
    except ValueError:
        return None
