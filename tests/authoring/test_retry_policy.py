"""Retry policies: conditions, waits and stops, alone and composed."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep import retry_policy as rp


class AskedError(Exception):
    """An error that says when to come back."""

    def __init__(self, retry_after: Any = None, headers: dict[str, str] | None = None) -> None:
        super().__init__("slow down")
        self.retry_after = retry_after
        self.response = type("Response", (), {"headers": headers})()


def anything(error: BaseException) -> bool:
    """A condition of the author's own."""
    return True


def nothing(error: BaseException) -> bool:
    """Another one."""
    return False


def chained() -> Exception:
    """A ValueError raised from a RuntimeError raised from a KeyError."""
    error, middle = ValueError("outer"), RuntimeError("middle")
    error.__cause__, middle.__cause__ = middle, KeyError("inner")
    return error


@pytest.mark.parametrize(
    ("condition", "error", "wanted"),
    [
        (rp.retry_if_exception(lambda e: "x" in str(e)), ValueError("x"), True),
        (rp.retry_if_exception_type((ValueError, KeyError)), KeyError(), True),
        (rp.retry_if_exception_type(ValueError), KeyError(), False),
        (rp.retry_if_not_exception_type(ValueError), KeyError(), True),
        (rp.retry_unless_exception_type(ValueError), ValueError(), False),
        (rp.retry_if_exception_message(message="no"), ValueError("no"), True),
        (rp.retry_if_exception_message(message="no"), ValueError("no!"), False),
        (rp.retry_if_exception_message(match=r"5\d\d"), ValueError("HTTP 503"), True),
        (rp.retry_if_exception_message(match=re.compile("HTTP", re.IGNORECASE)), ValueError("http"), True),
        (rp.retry_if_not_exception_message(match="key"), ValueError("bad key"), False),
        (rp.retry_if_exception_cause_type(KeyError), chained(), True),
        (rp.retry_if_exception_cause_type(ValueError), chained(), False),
        (rp.retry_always(), ValueError(), True),
        (rp.retry_never(), ValueError(), False),
        (rp.retry_if_exception_type(KeyError) | rp.retry_always(), ValueError(), True),
        (rp.retry_if_exception_type(KeyError) & rp.retry_always(), ValueError(), False),
        (rp.retry_always() & anything, ValueError(), True),
        (rp.retry_never() | nothing, ValueError(), False),
    ],
)
def test_conditions(condition: rp.RetryCondition, error: Exception, wanted: bool) -> None:
    """Each condition, and compositions of them, answer as they say."""
    assert condition(error) is wanted


def test_a_message_condition_wants_one_of_its_two_arguments() -> None:
    """Neither and both are refused."""
    with pytest.raises(TypeError, match="either message= or match="):
        rp.retry_if_exception_message()
    with pytest.raises(TypeError, match="either message= or match="):
        rp.retry_if_exception_message(message="a", match="a")


@pytest.mark.parametrize(
    ("wait", "delays"),
    [
        (rp.wait_fixed(timedelta(seconds=2)), [2, 2, 2]),
        (rp.wait_none(), [0, 0, 0]),
        (rp.wait_exponential(multiplier=1, exp_base=2, max=3), [1, 2, 3]),
        (rp.wait_exponential(min=2), [2, 2, 4]),
        (rp.wait_incrementing(start=1, increment=2, max=4), [1, 3, 4]),
        (rp.wait_chain(rp.wait_fixed(1), rp.wait_fixed(5)), [1, 5, 5]),
        (rp.wait_fixed(1) + rp.wait_fixed(2), [3, 3, 3]),
        (rp.wait_fixed(1) + (lambda attempts, seed=None: attempts), [1, 2, 3]),
        (sum([rp.wait_fixed(1), rp.wait_fixed(2)]), [3, 3, 3]),
    ],
)
def test_waits(wait: rp.WaitStrategy, delays: list[float]) -> None:
    """Each wait, and sums of them, give the delays before the first three retries."""
    assert [wait(attempts) for attempts in range(3)] == delays


@given(st.integers(0, 5000), st.integers())
def test_random_waits_stay_within_bounds_and_repeat_by_seed(attempts: int, seed: int) -> None:
    """Jitter is bounded however many retries there were, and the same for the same seed."""
    for wait, low, high in (
        (rp.wait_random(1, 2), 1, 2),
        (rp.wait_random_exponential(max=8, min=1), 1, 8),
        (rp.wait_full_jitter(max=8), 0, 8),
        (rp.wait_exponential_jitter(max=9, jitter=1), 0, 9),
        (rp.wait_exponential(max=8), 0, 8),
    ):
        delay = wait(attempts, seed=seed)
        assert low <= delay <= high
        assert delay == wait(attempts, seed=seed)


def test_an_empty_chain_is_refused() -> None:
    """A chain without a strategy has no answer."""
    with pytest.raises(ValueError, match="give at least one"):
        rp.wait_chain()


@pytest.mark.parametrize(
    ("stop", "attempts", "elapsed", "sleep", "wanted"),
    [
        (rp.stop_after_attempt(3), 2, 0, 0, False),
        (rp.stop_after_attempt(3), 3, 0, 0, True),
        (rp.stop_after_delay(timedelta(seconds=10)), 1, 9, 5, False),
        (rp.stop_after_delay(10), 1, 10, 0, True),
        (rp.stop_before_delay(10), 1, 6, 5, True),
        (rp.stop_before_delay(10), 1, 4, 5, False),
        (rp.stop_never(), 99, 99, 0, False),
        (rp.stop_after_attempt(3) | rp.stop_after_delay(5), 1, 6, 0, True),
        (rp.stop_after_attempt(3) & rp.stop_after_delay(5), 1, 6, 0, False),
    ],
)
def test_stops(stop: rp.StopCondition, attempts: int, elapsed: float, sleep: float, wanted: bool) -> None:
    """Each stop, and compositions of them, answer as they say."""
    assert stop(attempts, elapsed, upcoming_sleep=sleep) is wanted


def test_a_policy_asks_condition_wait_and_stop() -> None:
    """Attempts count from 1, and the first retry waits the first delay."""
    policy = rp.retry_policy(
        retry=rp.retry_if_exception_type(ValueError),
        wait=rp.wait_chain(rp.wait_fixed(1), rp.wait_fixed(2)),
        stop=rp.stop_after_attempt(3),
    )
    assert isinstance(policy, rp.RetryPolicy)
    assert [policy.next(0, attempts, ValueError()) for attempts in (1, 2, 3)] == [1, 2, None]
    assert policy.next(0, 1, KeyError()) is None


def test_a_policy_without_arguments_tries_three_times_five_seconds_apart() -> None:
    """The defaults are those of LlamaIndex."""
    policy = rp.retry_policy()
    assert [policy.next(0, attempts, ValueError()) for attempts in (1, 2, 3)] == [5, 5, None]


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (AskedError(retry_after=3), 3),
        (AskedError(retry_after=timedelta(seconds=4)), 4),
        (AskedError(retry_after="5"), 5),
        (AskedError(headers={"Retry-After": "6"}), 6),
        (AskedError(headers={"retry-after": "soon"}), 1),
        (AskedError(retry_after=-3), 0),
        (AskedError(retry_after=99), 60),
        (ValueError(), 1),
    ],
)
def test_an_error_that_says_when_to_come_back_is_obeyed(error: Exception, delay: float) -> None:
    """Attribute and header are honoured, up to `max`; the fallback serves where there is neither."""
    policy = rp.retry_policy(wait=rp.wait_retry_after(fallback=rp.wait_fixed(1), max=60))
    assert policy.next(0, 1, error) == delay


def test_a_retry_after_date_is_counted_from_now() -> None:
    """The header may be a date, and may stand on the error underneath."""
    soon = format_datetime(datetime.fromtimestamp(time.time() + 30, UTC), usegmt=True)
    outer = RuntimeError("wrapped")
    outer.__cause__ = AskedError(headers={"Retry-After": soon})
    delay = rp.retry_policy(wait=rp.wait_retry_after()).next(0, 1, outer)
    assert delay is not None
    assert 28 <= delay <= 30


def test_retry_after_works_inside_sums_and_chains() -> None:
    """A composed wait passes the error on."""
    wait = rp.wait_chain(rp.wait_fixed(1), rp.wait_retry_after(fallback=9) + rp.wait_fixed(1))
    policy = rp.retry_policy(wait=wait, stop=rp.stop_never())
    assert [policy.next(0, attempts, AskedError(retry_after=3)) for attempts in (1, 2)] == [1, 4]


def test_the_old_policies_still_work_and_say_what_to_use() -> None:
    """Flows that use them run, with a warning."""
    with pytest.warns(DeprecationWarning, match="use retry_policy"):
        constant = rp.ConstantDelayRetryPolicy(maximum_attempts=2, delay=1)
    with pytest.warns(DeprecationWarning, match="use retry_policy"):
        growing = rp.ExponentialBackoffRetryPolicy(jitter=False, maximum_attempts=3)
    assert [constant.next(0, attempts, ValueError()) for attempts in (1, 2)] == [1, None]
    assert [growing.next(0, attempts, ValueError()) for attempts in (1, 2, 3)] == [1, 2, None]
