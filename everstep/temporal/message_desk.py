"""Messages to a run within the workflow: kept until it has begun, judged in batches, and each sender told the verdict.

Workflow code: deterministic, like the interpreter that owns it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, Protocol

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine.core import Engine
from everstep.temporal import names
from everstep.temporal.boundary import Limits
from everstep.temporal.payloads import dump, raw_bytes
from everstep.temporal.step_runner import SERVER_RETRIES
from everstep.wire import Incoming, MalformedMessageError, received

Parse = Callable[[Sequence[Any]], Incoming]
"""Reads what a signal or an update brought."""

JUDGED_BYTES = 1_000_000
"""How many bytes of messages are judged at one time: what piles up in an outage is more than a payload holds."""

SUMMARY = 200
"""How many characters of what is judged show in the UI; names of types come from outside."""


class Run(Protocol):
    """What the desk needs of the interpreter."""

    @property
    def over(self) -> bool: ...
    @property
    def limits(self) -> Limits: ...
    def feed(self, what: happened.Input) -> None: ...
    def break_off(self, fault: BaseException) -> None: ...


class Judgement(NamedTuple):
    """A message to be judged, and how its judge is given it."""

    command: do.JudgeMessage
    data: bytes


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
        self._to_judge: deque[Judgement] = deque()
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
        """Have a message judged, with those that come while others are; one too large for that is refused."""
        data = judgement(command)
        refused = unjudgeable(command, workflow.time(), len(data), self._run.limits.payload) if self._bounded else None
        if refused is not None:
            self._run.feed(refused)
            return
        self._to_judge.append(Judgement(command, data))
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

    @property
    def _bounded(self) -> bool:
        """Whether only so much is judged at a time as one payload holds: runs of old go on as they began."""
        return self._engine is not None and self._engine.run.protocol >= 3

    def _judge_batch(self) -> None:
        batch: list[Judgement] = []
        room = JUDGED_BYTES
        while self._to_judge and (not batch or not self._bounded or len(self._to_judge[0].data) <= room):
            batch.append(self._to_judge.popleft())
            room -= len(batch[-1].data)
        types = dict.fromkeys(name for one in batch for name in one.command.types)
        task = workflow.start_activity(
            names.JUDGE,
            raw_bytes(b'{"flow":%s,"messages":[%s]}' % (dump(self._flow), b",".join(one.data for one in batch))),
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=SERVER_RETRIES,
            # The SDK's own ids are numbers, as those of invocations are: a step that runs could have the same.
            activity_id=f"judge-{batch[0].command.message}",
            summary=", ".join(types)[:SUMMARY],
        )
        task.add_done_callback(partial(self._judged, batch))

    def _judged(self, batch: Sequence[Judgement], task: asyncio.Task[Any]) -> None:
        if self._run.over or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._run.break_off(error)
            return
        verdicts = [happened.Verdict.from_json(item) for item in task.result()["verdicts"]]
        told = {verdict.message for verdict in verdicts}
        # What the judge says may be too much for one payload too: it leaves the rest for another time.
        self._to_judge.extendleft(one for one in reversed(batch) if one.command.message not in told)
        self.judging = bool(self._to_judge)
        if self._to_judge:
            self._judge_batch()
        self._run.feed(happened.MessagesJudged(workflow.time(), verdicts))


def judgement(command: do.JudgeMessage) -> bytes:
    """A message as its judge is given it."""
    form: dict[str, Any] = {"message": command.message, "types": list(command.types), "data": command.data}
    if command.waited:
        form["waited"] = True
    if command.question is not None:
        form["question"] = command.question.to_json()
    if command.outside:
        form["outside"] = True
    return dump(form)


def unjudgeable(command: do.JudgeMessage, now: float, size: int, limit: int | None) -> happened.MessagesJudged | None:
    """The refusal of a message that the server would not take for its judge; None where it does."""
    if limit is None or size <= limit:
        return None
    reason = (
        f"the message has {size} bytes with what belongs to it, over the server's limit of {limit}; send references "
        "instead of contents, or set up external storage for payloads"
    )
    return happened.MessagesJudged(now, [happened.Verdict(command.message, None, reason)])


def _refused(reason: str) -> ApplicationError:
    return ApplicationError(reason, type="ResponseRefused", non_retryable=True)
