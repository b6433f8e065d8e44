"""A client interceptor for the time-skipping test server: whoever waits for a run lets its time skip.

The SDK does so for the result of a run that the same client has started; here it is so for every wait for a history,
and so for all handles and for readers of streams. That server's long poll gives nothing before the end of a run, so
histories are followed by asking for them again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, UnlockTimeSkippingRequest
from temporalio.client import (
    Client,
    FetchWorkflowHistoryEventsInput,
    Interceptor,
    OutboundInterceptor,
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
)

POLL_SECONDS = 0.02

_CLOSED = frozenset(
    EventType.Value(f"EVENT_TYPE_WORKFLOW_EXECUTION_{how}")
    for how in ("COMPLETED", "FAILED", "CANCELED", "TIMED_OUT", "TERMINATED", "CONTINUED_AS_NEW")
)


class SkipWhileWaiting(Interceptor):
    """Give it to a client of the test server, which nobody else uses meanwhile.

    The server is unlocked once, however many wait: a second time would take away a lock of its own. While `real_pace`
    is set no time is skipped: for those who follow a stream and answer what it asks.

    Example: `client = await Client.connect(address, interceptors=[SkipWhileWaiting()])`
    """

    def __init__(self) -> None:
        self.real_pace = False
        self._waiting = 0
        self._changing = asyncio.Lock()

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Stand before the client's calls."""
        return _Outbound(next, self)

    @contextlib.asynccontextmanager
    async def skipping(self, client: Client) -> AsyncGenerator[None]:
        """Within the block, the server skips time whenever nothing but time is waited for."""
        if self.real_pace:
            yield
            return
        async with self._changing:
            if not self._waiting:
                await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
            self._waiting += 1
        try:
            yield
        finally:
            async with self._changing:
                self._waiting -= 1
                if not self._waiting:
                    await client.test_service.lock_time_skipping(LockTimeSkippingRequest())


class _Outbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, skips: SkipWhileWaiting) -> None:
        super().__init__(next)
        self._skips = skips

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        events = super().fetch_workflow_history_events(input)
        if not input.wait_new_event:
            return events
        client = events._client  # pyright: ignore[reportPrivateUsage]  # an interceptor is not told its client
        return _Following(client, input, self._skips)


class _Following(WorkflowHistoryEventAsyncIterator):
    """Gives the events of a history as they come, while the server's time skips."""

    def __init__(self, client: Client, input: FetchWorkflowHistoryEventsInput, skips: SkipWhileWaiting) -> None:
        super().__init__(client, replace(input, wait_new_event=False, event_filter_type=_ALL))
        self._only_close = input.event_filter_type == WorkflowHistoryEventFilterType.CLOSE_EVENT
        self._seen = 0
        self._skips = skips

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        async with self._skips.skipping(self._client):
            while True:
                self._next_page_token = None
                await super().fetch_next_page(page_size=page_size)
                events = _until_closed(self._current_page or [])
                fresh = [event for event in events if event.event_id > self._seen]
                ended = bool(events) and events[-1].event_type in _CLOSED
                if ended or (fresh and not self._only_close):
                    break
                await asyncio.sleep(POLL_SECONDS)
        self._seen = events[-1].event_id
        self._current_page = fresh[-1:] if self._only_close else fresh
        self._next_page_token = None if ended else b"more"


def _until_closed(events: Sequence[HistoryEvent]) -> Sequence[HistoryEvent]:
    """Events up to the end of an execution: this server records what comes from its children behind it."""
    ends = (place for place, event in enumerate(events, 1) if event.event_type in _CLOSED)
    return events[: next(ends, len(events))]


_ALL = WorkflowHistoryEventFilterType.ALL_EVENT
