"""How long to wait before a retry. Times are in seconds, or timedeltas where they are given."""

# ruff: noqa: N801  The names are those of the field: they read like functions.

from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import Protocol

from everstep.retry.retry_after import retry_after_of

Seconds = int | float | timedelta
"""A duration: a number of seconds, or a timedelta."""


def seconds(value: Seconds) -> float:
    """A duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


class WaitStrategy(Protocol):
    """How many seconds to wait before a retry; `attempts` is 0 before the first retry."""

    def __call__(self, attempts: int, *, seed: int | None = None) -> float: ...


class Wait:
    """Base of the waits that come with everstep: they add up, and know of the error where it matters."""

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        raise NotImplementedError

    def after(self, error: BaseException, attempts: int, *, seed: int | None = None) -> float:
        """The seconds to wait after this error, before retry `attempts`."""
        return self(attempts, seed=seed)

    def __add__(self, other: WaitStrategy) -> wait_combine:
        return wait_combine(self, other)

    def __radd__(self, other: WaitStrategy | int) -> WaitStrategy:
        # sum() begins with 0.
        return self if isinstance(other, int) else wait_combine(other, self)


class wait_fixed(Wait):
    """Wait always the same time."""

    def __init__(self, wait: Seconds) -> None:
        self.wait = seconds(wait)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return self.wait


class wait_none(wait_fixed):
    """Try again at once."""

    def __init__(self) -> None:
        super().__init__(0)


class wait_exponential(Wait):
    """Wait `multiplier` x `exp_base`^n before retry n, counted from 0; at least `min`, at most `max`."""

    def __init__(self, multiplier: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, min: Seconds = 0.0) -> None:
        self.multiplier = float(multiplier)
        self.exp_base = float(exp_base)
        self.max = seconds(max)
        self.min = seconds(min)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return max(0.0, self.min, min(_power(self.multiplier, self.exp_base, attempts), self.max))


class wait_incrementing(Wait):
    """Wait `start` before the first retry, and `increment` longer before each that follows, at most `max`."""

    def __init__(self, start: Seconds = 0.0, increment: Seconds = 100.0, max: Seconds = math.inf) -> None:
        self.start = seconds(start)
        self.increment = seconds(increment)
        self.max = seconds(max)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return max(0.0, min(self.start + self.increment * attempts, self.max))


class wait_random(Wait):
    """Wait a random time between `min` and `max`."""

    def __init__(self, min: Seconds = 0.0, max: Seconds = 1.0) -> None:
        self.min = seconds(min)
        self.max = seconds(max)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return random.Random(seed).uniform(self.min, self.max)


class wait_exponential_jitter(Wait):
    """Wait `initial` x `exp_base`^n and up to `jitter` more before retry n, at most `max`."""

    def __init__(self, initial: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, jitter: Seconds = 1.0) -> None:
        self.initial = float(initial)
        self.exp_base = float(exp_base)
        self.max = seconds(max)
        self.jitter = seconds(jitter)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        delay = _power(self.initial, self.exp_base, attempts) + random.Random(seed).uniform(0, self.jitter)
        return min(delay, self.max)


class wait_random_exponential(Wait):
    """Wait a random time between `min` and what `wait_exponential` would wait: full jitter."""

    def __init__(self, multiplier: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, min: Seconds = 0.0) -> None:
        self.multiplier = float(multiplier)
        self.exp_base = float(exp_base)
        self.max = seconds(max)
        self.min = seconds(min)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        upper = max(0.0, self.min, min(_power(self.multiplier, self.exp_base, attempts), self.max))
        return random.Random(seed).uniform(self.min, upper)


def wait_full_jitter(
    multiplier: float = 1.0, exp_base: float = 2.0, max: Seconds = 60.0, min: Seconds = 0.0
) -> wait_random_exponential:
    """Another name for `wait_random_exponential`."""
    return wait_random_exponential(multiplier=multiplier, exp_base=exp_base, max=max, min=min)


class wait_chain(Wait):
    """Wait by the first strategy before the first retry, by the second before the second; the last one stays."""

    def __init__(self, *strategies: WaitStrategy) -> None:
        if not strategies:
            raise ValueError("wait_chain has no strategies: give at least one, as in wait_chain(wait_fixed(1)).")
        self.strategies = strategies

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return self._strategy(attempts)(attempts, seed=seed)

    def after(self, error: BaseException, attempts: int, *, seed: int | None = None) -> float:
        """See `Wait.after`."""
        return wait_after(self._strategy(attempts), error, attempts, seed=seed)

    def _strategy(self, attempts: int) -> WaitStrategy:
        return self.strategies[min(attempts, len(self.strategies) - 1)]


class wait_combine(Wait):
    """Wait the sum of what these strategies say; the same as ``a + b``."""

    def __init__(self, *strategies: WaitStrategy) -> None:
        self.strategies = strategies

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return sum(strategy(attempts, seed=seed) for strategy in self.strategies)

    def after(self, error: BaseException, attempts: int, *, seed: int | None = None) -> float:
        """See `Wait.after`."""
        return sum(wait_after(strategy, error, attempts, seed=seed) for strategy in self.strategies)


class wait_retry_after(Wait):
    """Wait as long as the error asks for; by `fallback` where it asks for nothing, and at most `max`.

    An error asks by an attribute `retry_after` (seconds, a timedelta or a datetime), or by a Retry-After header
    (seconds or a date) of its `response`; the errors that it was raised from are asked too.

    Example: `retry_policy(wait=wait_retry_after(fallback=wait_exponential()), stop=stop_after_attempt(6))`
    """

    def __init__(self, fallback: WaitStrategy | Seconds = 1.0, max: Seconds = math.inf) -> None:
        self.fallback: WaitStrategy = wait_fixed(fallback) if isinstance(fallback, Seconds) else fallback
        self.max = seconds(max)

    def __call__(self, attempts: int, *, seed: int | None = None) -> float:
        return self.fallback(attempts, seed=seed)

    def after(self, error: BaseException, attempts: int, *, seed: int | None = None) -> float:
        """See `Wait.after`."""
        asked = retry_after_of(error)
        return min(wait_after(self.fallback, error, attempts, seed=seed) if asked is None else asked, self.max)


def wait_after(strategy: WaitStrategy, error: BaseException, attempts: int, *, seed: int | None = None) -> float:
    """The seconds that any strategy, also one of the author's, waits after an error."""
    if isinstance(strategy, Wait):
        return strategy.after(error, attempts, seed=seed)
    return strategy(attempts, seed=seed)


def _power(factor: float, base: float, exponent: int) -> float:
    try:
        return factor * base**exponent
    except OverflowError:
        return math.inf
