"""Messages to a run within the workflow: kept until it has begun, judged in batches, and each sender told the verdict.

Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.core import Engine
from everstep.temporal import names
from everstep.temporal.payloads import raw
from everstep.temporal.step_runner import SERVER_RETRIES
from everstep.wire import Incoming, MalformedMessageError, received

Parse = Callable[[Sequence[Any]], Incoming]
"""Reads what a signal or an update brought."""


class Run(Protocol):
    """What the desk needs of the interpreter."""

    @property
    def over(self) -> bool: ...
    def feed(self, what: happened.Input) -> None: ...
    def break_off(self, fault: BaseException) -> None: ...


class MessageDesk:
    """Takes messages in for one run.

    Args:
        run: what they are for.
        flow: its flow.
    """

    def __init__(self, run: Run, flow: str) -> None:
        self._run = run
        self._flow = flow
        self._engine: Engine | None = None
        self._early: list[happened.Input | tuple[happened.MessageReceived, asyncio.Future[str | None]]] = []
        self._senders: dict[int, asyncio.Future[str | None]] = {}
        self._to_judge: list[do.JudgeMessage] = []
        self._refusal: str | None = None
        self.judging = False

    @property
    def waited_for(self) -> bool:
        """Whether a sender waits for what becomes of a message."""
        return bool(self._senders)

    def open(self, engine: Engine) -> None:
        """The run has begun, or goes on: what came early is taken now, in its order."""
        self._engine = engine
        early, self._early = self._early, []
        for item in early:
            if isinstance(item, tuple):
                self._receive(*item)
            else:
                self._run.feed(item)

    def refuse(self, reason: str) -> None:
        """The run ends before it has begun: whoever sent something to it is told why."""
        if self._engine is not None:
            return
        self._refusal = reason
        early, self._early = self._early, []
        for item in early:
            if isinstance(item, tuple):
                item[1].set_exception(_refused(reason))

    def take(self, what: happened.Input) -> None:
        """Feed the engine, or keep the input until there is one."""
        if self._engine is None:
            self._early.append(what)
        else:
            self._run.feed(what)

    def signal(self, parse: Parse, arguments: Sequence[Any], *, answer: bool) -> None:
        """A message whose sender does not wait for the verdict."""
        try:
            message = parse(arguments)
        except MalformedMessageError as error:
            self.take(happened.MessageMalformed(workflow.time(), list(arguments), str(error)))
            return
        self.take(received(message, workflow.time(), answer=answer, key=None, unattended=True))

    async def update(self, parse: Parse, arguments: Sequence[Any], *, answer: bool) -> Any:
        """A message; gives what became of it, or raises why it was refused."""
        try:
            message = parse(arguments)
        except MalformedMessageError as error:
            self.take(happened.MessageMalformed(workflow.time(), list(arguments), str(error)))
            raise _refused(str(error)) from None
        key = workflow.current_update_info()
        taken = received(message, workflow.time(), answer=answer, key=key.id if key else None)
        sender: asyncio.Future[str | None] = asyncio.Future()
        if self._refusal is not None:
            raise _refused(self._refusal)
        if self._engine is None:
            self._early.append((taken, sender))
        else:
            self._receive(taken, sender)
        request = await sender
        return {"accepted": True} if request is None else {"accepted": True, "request": request}

    def judge(self, command: do.JudgeMessage) -> None:
        """Have a message judged, with those that come while others are."""
        self._to_judge.append(command)
        if not self.judging:
            self.judging = True
            self._judge_batch()

    def reply(self, command: do.ReplyToMessage) -> None:
        """Tell a sender what became of a message."""
        sender = self._senders.pop(command.message, None)
        if sender is None or sender.done():
            return
        if command.accepted:
            sender.set_result(command.request)
        else:
            sender.set_exception(_refused(command.reason))

    def redirect(self, command: do.ForwardAnswer) -> bool:
        """Tell the sender of an answer which run it is for; false if nobody waits for the verdict."""
        sender = self._senders.pop(command.message, None)
        if sender is None:
            return False
        if not sender.done():
            sender.set_exception(
                ApplicationError(
                    f"run {command.run!r} asks this: answer it there, as its request {command.request!r}",
                    {"run": command.run, "request": command.request},
                    type=names.ELSEWHERE,
                    non_retryable=True,
                )
            )
        return True

    def _receive(self, message: happened.MessageReceived, sender: asyncio.Future[str | None]) -> None:
        assert self._engine is not None
        self._senders[self._engine.run.next_message] = sender
        self._run.feed(message)

    def _judge_batch(self) -> None:
        batch, self._to_judge = self._to_judge, []
        messages = [
            {"message": c.message, "types": list(c.types), "data": c.data}
            | ({"waited": True} if c.waited else {})
            | ({"question": c.question.to_json()} if c.question is not None else {})
            | ({"outside": True} if c.outside else {})
            for c in batch
        ]
        task = workflow.start_activity(
            names.JUDGE,
            raw({"flow": self._flow, "messages": messages}),
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=SERVER_RETRIES,
            # The SDK's own ids are numbers, as those of invocations are: a step that runs could have the same.
            activity_id=f"judge-{batch[0].message}",
            summary=", ".join(dict.fromkeys(name for c in batch for name in c.types)),
        )
        task.add_done_callback(self._judged)

    def _judged(self, task: asyncio.Task[Any]) -> None:
        if self._run.over or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._run.break_off(error)
            return
        verdicts = [happened.Verdict.from_json(item) for item in task.result()["verdicts"]]
        self.judging = bool(self._to_judge)
        if self._to_judge:
            self._judge_batch()
        self._run.feed(happened.MessagesJudged(workflow.time(), verdicts))


def _refused(reason: str) -> ApplicationError:
    return ApplicationError(reason, type="ResponseRefused", non_retryable=True)
