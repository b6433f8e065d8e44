"""The rule of this package: what goes wrong with telling of a run never goes wrong with the run."""

from __future__ import annotations

import logging
from types import TracebackType

_log = logging.getLogger("everstep.observe")


class careful:  # noqa: N801  it is used like a function
    """A block whose errors are logged, and go no further.

    Example:
        >>> with careful():
        ...     span.end()
    """

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        _log.warning("something is missing in a trace or a metric", exc_info=error)
        return True
