"""How often the events that steps show leave by signal: twice a second, and ever less often as the history fills."""

from __future__ import annotations

from everstep.temporal.boundary import Limits

FLUSH_SECONDS = 0.5
"""How long an event waits at most before followers of the run see it, while the history is short."""

LONGEST = 600.0
"""The longest wait, in seconds: steps that run for days are still followed."""

EVENTS_PER_SIGNAL = 4
"""What a signal adds to a history: itself, and the workflow task that it brings about."""

MEASURE_EVERY = 25
"""After how many signals to look how long the history really is: other workers and steps add to it."""


class Pace:
    """The waits between the signals of one worker to one execution.

    An execution is continued as new at its soft limit, where its steps can end. Where they cannot, each quarter of that
    limit doubles the wait, so that what is shown alone never gets a history to its hard limit, nor to the server's own
    of 10,000 signals.

    Args:
        limits: at which length and size of its history a run continues as new.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._length = 0
        self._size = 0
        self._unmeasured = 0
        self._failures = 0

    @property
    def seconds(self) -> float:
        """How long to wait before the next signal."""
        full = max(self._length / self._limits.continue_at_events, self._size / self._limits.continue_at_bytes)
        doubled = min(4 * max(0.0, full - 1) + self._failures, 20)
        return min(FLUSH_SECONDS * 2**doubled, LONGEST)

    def sent(self, size: int) -> bool:
        """A signal of so many bytes was taken; whether it is time to measure the history."""
        self._failures = 0
        self._length += EVENTS_PER_SIGNAL
        self._size += size
        self._unmeasured += 1
        return self._unmeasured >= MEASURE_EVERY

    def failed(self) -> None:
        """A signal was not taken: wait longer each time."""
        self._failures = min(self._failures + 1, 7)

    def measured(self, length: int, size: int) -> None:
        """The history has so many events and bytes."""
        self._length, self._size, self._unmeasured = length, size, 0
