"""Which errors are worth another attempt."""

# ruff: noqa: N801  The names are those of the field: they read like functions.

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Protocol

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


class RetryCondition(Protocol):
    """Whether an error is worth another attempt."""

    def __call__(self, error: BaseException) -> bool: ...


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
        return any(isinstance(cause, self.exception_types) for cause in causes_of(error))


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


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """What an error was raised from, step by step."""
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__
