"""What a run of agents keeps in its state, under names of its own beside the user's `state`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from everstep.agent.memory import TokenCounter, within_budget
from everstep.agent.messages import ChatMessage, Usage
from everstep.agent.servers import Listed, listed_from
from everstep.context import Context

HISTORY = "chat_history"
AGENT = "current_agent_name"
STATE = "state"
ITERATIONS = "num_iterations"
MAX_ITERATIONS = "max_iterations"
CORRECTIONS = "num_corrections"
USAGE = "usage"
TOOLS = "tools"


class Conversation:
    """The conversation of a run, read from its state once and added to message by message.

    Only what is added is written: a run's history does not hold the conversation again for each message.
    """

    def __init__(self, ctx: Context[Any], state: Mapping[str, Any]) -> None:
        self._ctx = ctx
        self._state = state
        self.messages = [ChatMessage.model_validate(each) for each in state.get(HISTORY) or ()]

    @classmethod
    async def of(cls, ctx: Context[Any]) -> Conversation:
        """The conversation of this step's run."""
        return cls(ctx, await ctx.store.to_dict())

    def get(self, name: str, default: Any = None) -> Any:
        """What the state had under a name when this step began."""
        return self._state.get(name, default)

    @property
    def listed(self) -> Listed:
        """The tools that servers listed when the run began."""
        return listed_from(self.get(TOOLS) or {})

    @property
    def usage(self) -> Usage:
        """The tokens of the run so far."""
        return Usage.model_validate(self.get(USAGE) or {})

    async def begin(
        self, given: Sequence[ChatMessage] | None, message: str | None, budget: int, count: TokenCounter
    ) -> None:
        """Begin a run: with the history that was given, or that the state brought, and what the user says."""
        history = settled(self.messages if given is None else given)
        if message is not None:
            history.append(ChatMessage(role="user", content=message))
        # What is past the budget would never be read again, and a run that carries on from this one brings it along.
        self.messages = within_budget(history, budget, count)
        await self._ctx.store.set(HISTORY, [each.to_data() for each in self.messages])

    async def add(self, *messages: ChatMessage) -> None:
        """Add messages at the end."""
        for message in messages:
            await self._ctx.store.set(f"{HISTORY}.{len(self.messages)}", message.to_data())
            self.messages.append(message)

    def news(self) -> list[ChatMessage]:
        """What came since a model spoke last."""
        return self.messages[self._last_answer() + 1 :]

    def last_calls(self) -> list[str]:
        """The ids of the calls that a model asked for last, in order."""
        last = self._last_answer()
        return [] if last < 0 else [call.tool_id for call in self.messages[last].tool_calls]

    def _last_answer(self) -> int:
        return max((n for n, message in enumerate(self.messages) if message.role == "assistant"), default=-1)


def settled(history: Sequence[ChatMessage]) -> list[ChatMessage]:
    """A history in which every call of a tool has a result: models refuse others. A run that failed may leave such."""
    answered = {message.tool_call_id for message in history if message.role == "tool"}
    whole: list[ChatMessage] = []
    for message in history:
        whole.append(message)
        whole.extend(
            ChatMessage(role="tool", content="This call was not carried out.", tool_call_id=call.tool_id)
            for call in message.tool_calls
            if call.tool_id not in answered
        )
    return whole
