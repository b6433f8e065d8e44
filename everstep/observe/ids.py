"""Where the spans of a run belong: ids made from what names the run, never from chance.

Whoever derives them, on whatever worker and however often, comes to the same: a replay, a retry or another worker adds
to one tree and never begins a second one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class RunTrace:
    """The trace of a run, and the run's own span in it, which the others hang under.

    A run that another one has started as its child is in that one's trace; `parent_id` is the span of the run above.

    Example:
        >>> RunTrace.of("default", "run-1", "execution").traceparent()
        '00-…-…-01'
    """

    trace_id: int
    span_id: int
    sampled: bool = True
    parent_id: int | None = None

    @classmethod
    def of(cls, *identity: str) -> Self:
        """The trace of the run that these texts name together, and no other run."""
        return cls(_number(16, *identity), _number(8, *identity, "run"))

    @classmethod
    def parse(cls, traceparent: str) -> Self | None:
        """Read what `traceparent` wrote; None for what is no such text."""
        found = _TRACEPARENT.fullmatch(traceparent)
        if found is None:
            return None
        return cls(int(found[1], 16), int(found[2], 16), bool(int(found[3], 16) & 1))

    def under(self, traceparent: object) -> Self | None:
        """The same run as the child of the one whose traceparent this is; None where it is none."""
        above = self.parse(traceparent) if isinstance(traceparent, str) else None
        return None if above is None else type(self)(above.trace_id, self.span_id, above.sampled, above.span_id)

    def traceparent(self) -> str:
        """The W3C form: 00-trace-span-flags."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"

    def span(self, *key: object) -> int:
        """The id of the span that this key names within the run."""
        return _number(8, f"{self.trace_id:032x}", f"{self.span_id:016x}", *map(str, key))


def _number(size: int, *parts: str) -> int:
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=size).digest()
    return int.from_bytes(digest, "big") or 1  # zero means no id
