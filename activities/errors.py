"""The errors of the outside world, one tree, so that a step can name them in its retry policy.

Rule: `retryable` says whether the same call can succeed later without anybody changing anything.
"""

from __future__ import annotations

from pathlib import Path


class OutsideError(Exception):
    """Something outside this program failed or refused.

    Attributes:
        retryable: True when the same call may succeed later as it is.
        retry_after: Seconds the other side asked to wait before the next try, when it said so.

    Example:
        `retry_if_exception(lambda e: isinstance(e, OutsideError) and e.retryable)`
    """

    retryable: bool = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelError(OutsideError):
    """A language or embedding model did not do what it was asked."""


class ModelRateLimited(ModelError):
    """Too many requests (429). `retry_after` holds what the server asked for, in seconds, if anything."""

    retryable = True


class ModelTimeout(ModelError):
    """The model did not answer, or did not go on answering, in the time given."""

    retryable = True


class ModelUnavailable(ModelError):
    """The model's server could not be reached or failed by itself (5xx, connection lost)."""

    retryable = True


class ModelStreamCut(ModelError):
    """The stream ended before the model said it had finished. `partial` is the text that had arrived."""

    retryable = True

    def __init__(self, message: str, *, partial: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.partial = partial


class ModelOutputInvalid(ModelError):
    """The model's output does not fit the schema it was given. `output` is the text as it came."""

    retryable = True

    def __init__(self, message: str, *, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class ModelRefused(ModelError):
    """The model declined to answer, or a content filter stopped it."""


class ModelContextOverflow(ModelError):
    """The messages are longer than the model can take: send less."""


class ModelAuthError(ModelError):
    """The key is missing, wrong or not allowed to use this model."""


class ModelQuotaExceeded(ModelError):
    """The account has no credit left: waiting does not help, paying does."""


class ModelRequestInvalid(ModelError):
    """The server rejected the request itself: unknown model, unsupported option."""


class DocumentUnreadable(OutsideError):
    """A document cannot be turned into text. `path` is the file, `reason` what is wrong with it."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"Cannot read {path}: {reason}")
        self.path = str(path)
        self.reason = reason


class RecordModelInvalid(OutsideError):
    """What records are to look like cannot be used: no such model, or no JSON Schema."""


class ExtractionStopped(OutsideError):
    """An extraction met something that no other document would have got past; what was done is kept."""


class ResultsUnwritable(OutsideError):
    """The folder for the results of an extraction cannot be used."""


class VectorStoreError(OutsideError):
    """The vector store failed or was misused."""


class VectorStoreUnavailable(VectorStoreError):
    """The vector store's server could not be reached or failed by itself."""

    retryable = True


class VectorStoreLocked(VectorStoreError):
    """Another process has the embedded store's folder open. It may end, so trying again makes sense."""

    retryable = True


class VectorStoreMismatch(VectorStoreError):
    """The collection is not of this program's making: vectors of another size, or a newer layout."""


class VectorStoreOutdated(VectorStoreError):
    """The collection was made by an older version, and lacks what was asked for until it is indexed again."""


class LedgerConflict(OutsideError):
    """A payment key was used again for another payment."""


class LedgerUnavailable(OutsideError):
    """The ledger's file cannot be opened, or stayed locked for too long."""

    retryable = True


class LedgerLimitExceeded(OutsideError):
    """A payment would take an order's refunds over what may be refunded."""


class OrdersUnavailable(OutsideError):
    """The shop's orders cannot be read."""

    retryable = True
