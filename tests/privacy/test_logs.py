"""The filter that keeps contents out of the SDK's logs, whatever users raise."""

from __future__ import annotations

import logging

import pytest

from everstep.errors import UnreadablePayloadError
from everstep.temporal.privacy.logs import HIDDEN, ContentFilter

SECRET = "tidewater-7391"


class Awkward(Exception):
    """Has no text, and is equal to everything."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = Exception.__hash__


def logged(message: str, *arguments: object, error: BaseException | None = None) -> str:
    """What a handler writes of a record, once it has passed the filter."""
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("temporalio.activity", logging.WARNING, __file__, 1, message, arguments, info)
    assert ContentFilter().filter(record)
    return logging.Formatter().format(record)


def test_tracebacks_tell_types_and_lines() -> None:
    """Of an error and of what it was raised from."""
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as cause:
            raise ValueError(f"no {SECRET}") from cause
    except ValueError as error:
        text = logged(f"Completing as failure: no {SECRET}", error=error)
    assert SECRET not in text
    assert f"builtins.KeyError: {HIDDEN}" in text
    assert f"builtins.ValueError: {HIDDEN}" in text
    assert "test_logs.py" in text


def test_values_in_messages_are_left_out_and_names_stay() -> None:
    """Details of heartbeats and exceptions, not ids."""
    assert SECRET not in logged("Recording heartbeat with details %s", [{"error": SECRET}])
    assert SECRET not in logged("went wrong: %s", ValueError(SECRET))
    assert logged("Running activity %s (attempt %d)", "Flow.step", 2) == "Running activity Flow.step (attempt 2)"


@pytest.mark.parametrize("error", [Awkward(), ExceptionGroup(SECRET, [ValueError(SECRET)])])
def test_no_exception_breaks_it(error: Exception) -> None:
    """Neither one that cannot be written or compared, nor a circle, nor a group."""
    error.__context__ = LookupError(SECRET)
    error.__context__.__context__ = error
    text = logged("Completing activity as failed", error=error)
    assert type(error).__name__ in text
    assert SECRET not in text


def test_a_missing_key_is_told() -> None:
    """What has to be mended stands in the log."""
    assert "'2026-11'" in logged("Failed", error=UnreadablePayloadError("no key '2026-11'"))
