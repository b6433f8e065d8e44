"""What ends an attempt of a step otherwise than by its outcome, as Temporal is told of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from everstep.engine.messages import Failure
from everstep.exception_data import exception_from_data, shortened

ATTEMPT_TEXT = 800
"""How many characters of an error's text a failure has, thrice, that another attempt follows: a server keeps 4 kB of
it, and above that hardly anything. The attempt's tally has more."""


def tried_again(failure: Failure, told: Exception, again: timedelta) -> ApplicationError:
    """A try has failed, and another attempt follows.

    Args:
        failure: of the step.
        told: the exception, as it may be told; it becomes the cause.
        again: when the next attempt begins.
    """
    message = shortened(failure.message, ATTEMPT_TEXT)
    if message != failure.message:
        told = exception_from_data({"type": failure.type, "message": message}).with_traceback(told.__traceback__)
    error = ApplicationError(
        message,
        replace(failure, message=message, traceback="", causes=()).to_json(),  # the cause has these
        type=failure.type,
        next_retry_delay=again,
        category=ApplicationErrorCategory.BENIGN,  # the worker logs it, in one line
    )
    error.__cause__ = told
    return error


def given_up(text: str, kind: str, again: timedelta) -> ApplicationError:
    """What gives an attempt back without its step having failed; benign, as what happened is logged where it did."""
    return ApplicationError(text, type=kind, next_retry_delay=again, category=ApplicationErrorCategory.BENIGN)


def final(failure: Failure) -> ApplicationError:
    """What ends the invocation as failed, with the record that the engine reads."""
    return ApplicationError(failure.message, failure.to_json(), type=failure.type, non_retryable=True)


def too_large(step: str, size: int, limit: int, shown: int) -> Failure:
    """The failure of a step that returned more than a server takes, `shown` events among it."""
    also = f", {shown} published events among them that it did not take before" if shown else ""
    return Failure(
        "PayloadTooLarge",
        f"step {step!r} returned {size} bytes, over the server's limit of {limit}{also}; return references instead of "
        "contents, or set up external storage for payloads",
    )
