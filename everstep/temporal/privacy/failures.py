"""Failures whose messages and tracebacks are encrypted with the payloads.

What tells of a missing key or a missing storage stays in plain text, as whoever has to mend that may lack the key too;
so does a worker's answer that it does not have a flow. Neither says anything of what a run holds.
"""

from __future__ import annotations

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError

from everstep.errors import PayloadStorageError, SettingsError, UnreadablePayloadError

OF_SETTINGS = (SettingsError, UnreadablePayloadError, PayloadStorageError)
"""Errors that say nothing of what runs hold."""


class PrivateFailureConverter(DefaultFailureConverter):
    """Moves messages and tracebacks of failures to where the codec sees them."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)
        self._in_plain_text = DefaultFailureConverter()

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """See the base class."""
        if isinstance(exception, OF_SETTINGS):
            told = ApplicationError(str(exception), type=type(exception).__name__)
            told.__traceback__ = exception.__traceback__
            self._in_plain_text.to_failure(told, payload_converter, failure)
            if exception.__cause__ is not None:  # which may come from anywhere, such as from a step
                self.to_failure(exception.__cause__, payload_converter, failure.cause)
        elif _tells_of_a_worker(exception):
            self._in_plain_text.to_failure(exception, payload_converter, failure)
        else:
            super().to_failure(exception, payload_converter, failure)


def _tells_of_a_worker(exception: BaseException) -> bool:
    """Whether a worker lacks a flow or a flow a query: names only, which whoever asks reads without decoding."""
    if isinstance(exception, ApplicationError):
        return exception.type == "NotFoundError" and "is not registered on this worker" in exception.message
    return type(exception) is RuntimeError and str(exception).startswith("Query handler for ")
