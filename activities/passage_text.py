"""Passages as chat models are shown them: numbered from 1, as answers cite them."""

from __future__ import annotations

from collections.abc import Sequence

from activities.vectors import Passage


def numbered(passages: Sequence[Passage]) -> str:
    """All passages, each with its number, place and headings."""
    return "\n\n".join(
        f"[{number}] {passage.place} {' > '.join(passage.heading)}\n{passage.text}"
        for number, passage in enumerate(passages, 1)
    )
