"""The Temporal driver's workflow code: feeds the engine from a workflow and carries out its commands.

Deterministic and unsandboxed. It gets the flow's definition as data and imports no user code, nor what user code needs.
Every change here is replayed against the recorded histories in `tests/histories`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar, cast

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, SearchAttributeKey
from temporalio.exceptions import ApplicationError

from everstep.engine import commands as do
from everstep.engine import inputs as happened
from everstep.engine import views
from everstep.engine.core import Engine
from everstep.engine.messages import Envelope
from everstep.engine.notices import Watch
from everstep.flow.definition import FlowDefinition
from everstep.temporal import names
from everstep.temporal.boundary import Boundary, Limits
from everstep.temporal.endings import run_failure, run_result
from everstep.temporal.lock_keeper import LockKeeper
from everstep.temporal.payloads import dump, pack, raw, raw_bytes, unpack
from everstep.temporal.step_runner import SERVER_RETRIES, StepRunner
from everstep.wire import Incoming, MalformedMessageError, parse_answer, parse_event, received

Observer = Callable[[Envelope], None]
"""Is shown the engine's own events and the states of steps while a history is replayed."""

_WAITING = SearchAttributeKey.for_bool(names.WAITING)


class Interpreter:
    """The workflow of every flow; `workflow_class` makes one class per flow of it."""

    observe: ClassVar[Observer | None] = None

    def __init__(self, *_: Any) -> None:
        self._engine: Engine | None = None
        self._flow = workflow.info().workflow_type
        self._limits = Limits()
        self._ended: asyncio.Future[do.CompleteRun | do.FailRun | do.CancelRun | None] = asyncio.Future()
        self._boundary: Boundary | None = None
        self._locks = LockKeeper(self._take)
        self._steps: StepRunner | None = None
        self._early: list[happened.Input | tuple[happened.MessageReceived, asyncio.Future[str | None]]] = []
        self._timers: dict[str, asyncio.Task[None]] = {}
        self._senders: dict[int, asyncio.Future[str | None]] = {}
        self._to_judge: list[do.JudgeMessage] = []
        self._judging = False
        self._shown_waiting = False
        self._refusal: str | None = None
        self._inputs: deque[happened.Input] = deque()
        self._applying = False
        self._watch: Watch | None = None

    async def main(self, arguments: Sequence[Any]) -> Any:
        """The run, from its start or from where the run before it left off."""
        try:
            await self._begin(arguments)
            ended = await asyncio.shield(self._ended)
            if ended is None:
                await self._continue()
        except ApplicationError as refused:
            self._refuse_early(refused.message)
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        except asyncio.CancelledError:
            self._refuse_early(f"the run of {self._flow} was cancelled before it began")
            # Also when the run was about to continue as new: the next execution would not know that it was cancelled.
            if self._engine is not None and self._engine.run.active:
                self.feed(happened.CancelRequested(self._now(), workflow.cancellation_reason() or ""))
            ended = None
        await workflow.wait_condition(workflow.all_handlers_finished)
        if isinstance(ended, do.CompleteRun):
            return run_result(ended.event, self._pinned["stops"])
        if isinstance(ended, do.FailRun):
            raise run_failure(ended)
        raise asyncio.CancelledError

    # What comes from outside

    @workflow.signal(name=names.RESPOND)
    def respond_signal(self, *arguments: Any) -> None:
        """A person's answer, without a reply to the sender."""
        self._signal(parse_answer, arguments, answer=True)

    @workflow.update(name=names.RESPOND)
    async def respond_update(self, *arguments: Any) -> Any:
        """A person's answer; gives what became of it."""
        return await self._update(parse_answer, arguments, answer=True)

    @workflow.signal(name=names.SEND_EVENT)
    def send_event_signal(self, *arguments: Any) -> None:
        """An event, without a reply to the sender."""
        self._signal(parse_event, arguments, answer=False)

    @workflow.update(name=names.SEND_EVENT)
    async def send_event_update(self, *arguments: Any) -> Any:
        """An event; gives what became of it."""
        return await self._update(parse_event, arguments, answer=False)

    @workflow.signal(name=names.PUBLISH)
    def published(self, *_: Any) -> None:
        """Events shown by a step that is running: readers find them in the history, nothing is to be done here."""

    @workflow.update(name=names.LOCK)
    async def lock_update(self, *arguments: Any) -> Any:
        """A step wants the run's lock, for `edit_state`; gives the state to edit."""
        return await self._locks.ask(arguments)

    @workflow.signal(name=names.UNLOCK)
    def unlock_signal(self, *arguments: Any) -> None:
        """A step gives the run's lock back, with its changes."""
        self._locks.released(arguments)

    @workflow.signal(dynamic=True)
    def unknown_signal(self, name: str, _: Sequence[RawValue]) -> None:
        """Any other signal is refused, and recorded."""
        reason = f"there is no signal {name!r}; send {names.RESPOND!r} or {names.SEND_EVENT!r}"
        self._take(happened.MessageMalformed(self._now(), {"signal": name}, reason))

    @workflow.query(name=names.STATE)
    def state(self) -> Any:
        """The run's state."""
        return raw(self._engine.run.state if self._engine else {})

    @workflow.query(name=names.REQUESTS)
    def requests(self, *arguments: Any) -> Any:
        """The requests to humans; with the argument true, only the open ones."""
        only_open = bool(arguments and arguments[0])
        return raw(views.requests(self._engine.run, only_open=only_open) if self._engine else [])

    @workflow.query(name=names.PROGRESS)
    def progress(self) -> Any:
        """Where the run stands."""
        return raw(views.progress(self._engine.run) if self._engine else {"flow": self._flow, "status": "new"})

    # Beginning and going on

    async def _begin(self, arguments: Sequence[Any]) -> None:
        if len(arguments) > 1 and isinstance(arguments[1], dict) and "everstep" in arguments[1]:
            self._go_on(cast("Mapping[str, Any]", arguments[1]["everstep"]))
            return
        start: Any = arguments[0] if arguments else {}
        if len(arguments) > 1 or not isinstance(start, dict):
            raise ApplicationError(
                f"{self._flow} takes one JSON object, the fields of its start event; "
                f"{len(arguments)} values came"
                + ("" if isinstance(start, dict) else f", the first no object: {start!r}"),
                type="StartRefused",
                non_retryable=True,
            )
        begun: Mapping[str, Any] = await workflow.execute_local_activity(
            names.BEGIN,
            raw({"flow": self._flow, "start": start, "options": workflow.memo_value(names.MEMO, None)}),
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=10)),
        )
        if "refused" in begun:
            raise ApplicationError(begun["refused"], type="StartRefused", non_retryable=True)
        self._set_up(begun["definition"], begun["limits"])
        engine = self._engine = Engine(FlowDefinition.from_json(begun["definition"]))
        self._use(engine)
        self.feed(happened.StartRun(self._now(), Envelope.from_json(begun["start"]), begun.get("state")))
        self._take_early()

    def _set_up(self, definition: Mapping[str, Any], limits: Mapping[str, Any]) -> None:
        self._pinned = definition
        self._limits = Limits.from_json(limits)

    def _use(self, engine: Engine) -> None:
        self._steps = StepRunner(engine, self._limits, self.feed)
        self._boundary = Boundary(self, engine.run.scheduler)
        observe = type(self).observe
        if observe is not None:
            self._watch = Watch(engine.run, observe)

    def _go_on(self, carried: Mapping[str, Any]) -> None:
        self._set_up(carried["definition"], carried["limits"])
        definition = FlowDefinition.from_json(carried["definition"])
        engine = self._engine = Engine.restore(definition, unpack(carried["engine"]))
        self._use(engine)
        self._shown_waiting = carried["waiting"]
        self.feed(happened.Restored(self._now()))
        self._take_early()

    async def _continue(self) -> None:
        """Hand the run over to its next execution, once every sender has its answer."""
        self._locks.close()
        await workflow.wait_condition(workflow.all_handlers_finished)
        engine = self._engine
        assert engine is not None
        assert self._steps is not None
        self._steps.move()
        workflow.continue_as_new(args=[raw({}), raw_bytes(self._carried())])

    def _carried(self) -> bytes:
        """What the next execution begins with."""
        assert self._engine is not None
        carried = {
            "definition": self._pinned,
            "limits": self._limits.to_json(),
            "engine": pack(self._engine.snapshot()),
            "waiting": self._shown_waiting,
        }
        return dump({"everstep": carried})

    # Feeding the engine

    def _now(self) -> float:
        return workflow.time()

    def feed(self, what: happened.Input) -> None:
        """Apply an input and carry out the commands; a fault of ours fails the workflow task, never the run."""
        engine = self._engine
        assert engine is not None
        self._inputs.append(what)
        if self._applying:
            return
        self._applying = True
        try:
            while self._inputs:
                now = self._inputs.popleft()
                commands = engine.apply(now)
                if self._watch is not None:
                    self._watch.saw(now, commands)
                for command in commands:
                    _CARRY_OUT[type(command)](self, command)
        except Exception as fault:
            if not self._ended.done():
                self._ended.set_exception(fault)
            raise
        finally:
            self._applying = False
        self._show()
        if self._boundary is not None and engine.run.active:
            self._boundary.look()

    def _take(self, what: happened.Input) -> None:
        if self._engine is None:
            self._early.append(what)
        else:
            self.feed(what)

    def _take_early(self) -> None:
        early, self._early = self._early, []
        for item in early:
            if isinstance(item, tuple):
                self._feed_message(*item)
            else:
                self.feed(item)

    def _refuse_early(self, reason: str) -> None:
        """The run ends before it has begun: whoever sent something to it is told why."""
        if self._engine is not None:
            return
        self._refusal = reason
        early, self._early = self._early, []
        for item in early:
            if isinstance(item, tuple):
                item[1].set_exception(_refused(reason))

    def _signal(self, parse: Callable[[Sequence[Any]], Incoming], arguments: Sequence[Any], *, answer: bool) -> None:
        try:
            message = parse(arguments)
        except MalformedMessageError as error:
            self._take(happened.MessageMalformed(self._now(), list(arguments), str(error)))
            return
        self._take(received(message, self._now(), answer=answer, key=None))

    async def _update(
        self, parse: Callable[[Sequence[Any]], Incoming], arguments: Sequence[Any], *, answer: bool
    ) -> Any:
        try:
            message = parse(arguments)
        except MalformedMessageError as error:
            self._take(happened.MessageMalformed(self._now(), list(arguments), str(error)))
            raise _refused(str(error)) from None
        key = workflow.current_update_info()
        taken = received(message, self._now(), answer=answer, key=key.id if key else None)
        sender: asyncio.Future[str | None] = asyncio.Future()
        if self._refusal is not None:
            raise _refused(self._refusal)
        if self._engine is None:
            self._early.append((taken, sender))
        else:
            self._feed_message(taken, sender)
        request = await sender
        return {"accepted": True} if request is None else {"accepted": True, "request": request}

    def _feed_message(self, message: happened.MessageReceived, sender: asyncio.Future[str | None]) -> None:
        assert self._engine is not None
        self._senders[self._engine.run.next_message] = sender
        self.feed(message)

    # Carrying out commands

    def _run_step(self, command: do.RunStep) -> None:
        assert self._steps is not None
        self._steps.run(command)

    def _cancel_step(self, command: do.CancelStep) -> None:
        assert self._steps is not None
        self._steps.cancel(command)

    def _set_timer(self, command: do.SetTimer) -> None:
        delay = max(0.001, command.at - self._now())
        task = asyncio.create_task(workflow.sleep(delay, summary=command.timer))
        self._timers[command.timer] = task
        task.add_done_callback(partial(self._timer_done, command.timer))

    def _timer_done(self, timer: str, task: asyncio.Task[None]) -> None:
        if self._timers.get(timer) is task:
            del self._timers[timer]
        if not task.cancelled() and not self._ended.done():
            self.feed(happened.TimerFired(self._now(), timer))

    def _cancel_timer(self, command: do.CancelTimer) -> None:
        task = self._timers.pop(command.timer, None)
        if task is not None:
            task.cancel()

    def _judge(self, command: do.JudgeMessage) -> None:
        self._to_judge.append(command)
        if not self._judging:
            self._judging = True
            self._judge_batch()

    def _judge_batch(self) -> None:
        batch, self._to_judge = self._to_judge, []
        messages = [
            {"message": c.message, "types": list(c.types), "data": c.data} | ({"waited": True} if c.waited else {})
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
        if self._ended.done() or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._ended.set_exception(error)
            return
        verdicts = [happened.Verdict.from_json(item) for item in task.result()["verdicts"]]
        self._judging = bool(self._to_judge)
        if self._to_judge:
            self._judge_batch()
        self.feed(happened.MessagesJudged(self._now(), verdicts))

    def _reply(self, command: do.ReplyToMessage) -> None:
        sender = self._senders.pop(command.message, None)
        if sender is None or sender.done():
            return
        if command.accepted:
            sender.set_result(command.request)
        else:
            sender.set_exception(_refused(command.reason))

    def _grant_lock(self, command: do.GrantLock) -> None:
        self._locks.granted(command)

    def _refuse_lock(self, command: do.RefuseLock) -> None:
        self._locks.refused(command)

    def _publish(self, command: do.Publish) -> None:
        """The engine's own events are not recorded: who wants them follows the history with an engine of their own."""

    def _end(self, command: do.CompleteRun | do.FailRun | do.CancelRun) -> None:
        for task in self._timers.values():
            task.cancel()
        self._timers.clear()
        if self._steps is not None:
            self._steps.close()
        if not self._ended.done():
            self._ended.set_result(command)

    # Telling where the run stands, and the boundary to the next execution

    def _show(self) -> None:
        engine = self._engine
        assert engine is not None
        workflow.set_current_details(views.describe(engine.run))
        waiting = bool(engine.run.open_requests)
        if waiting != self._shown_waiting:
            self._shown_waiting = waiting
            if self._limits.search_attributes:
                workflow.upsert_search_attributes([_WAITING.value_set(waiting)])  # pyright: ignore[reportUnknownMemberType]

    @property
    def limits(self) -> Limits:
        """What the worker that began the run set for it."""
        return self._limits

    @property
    def judging(self) -> bool:
        """Whether a message waits for its verdict."""
        return self._judging

    def cross(self, *, forced: bool) -> bool:
        """Leave this execution for the next one; called by the boundary.

        While what would be carried over is too large for the server the run stays, because its queues get shorter as it
        goes on; where it is `forced` to leave, it fails instead of getting stuck.
        """
        size, limit = len(self._carried()), self._limits.payload
        if limit is None or size <= limit:
            if not self._ended.done():
                self._ended.set_result(None)
            return True
        if forced:
            self._end(
                do.FailRun(
                    "too-large",
                    f"the run of {self._flow} has {size} bytes of state, events and requests, over the server's limit "
                    f"of {limit}, and its history is too long to go on. Keep references instead of contents in events "
                    "and state, or set up external storage for payloads.",
                )
            )
        return forced


_CARRY_OUT: dict[type, Callable[[Interpreter, Any], None]] = {
    do.RunStep: Interpreter._run_step,  # pyright: ignore[reportPrivateUsage]
    do.CancelStep: Interpreter._cancel_step,  # pyright: ignore[reportPrivateUsage]
    do.SetTimer: Interpreter._set_timer,  # pyright: ignore[reportPrivateUsage]
    do.CancelTimer: Interpreter._cancel_timer,  # pyright: ignore[reportPrivateUsage]
    do.JudgeMessage: Interpreter._judge,  # pyright: ignore[reportPrivateUsage]
    do.ReplyToMessage: Interpreter._reply,  # pyright: ignore[reportPrivateUsage]
    do.GrantLock: Interpreter._grant_lock,  # pyright: ignore[reportPrivateUsage]
    do.RefuseLock: Interpreter._refuse_lock,  # pyright: ignore[reportPrivateUsage]
    do.Publish: Interpreter._publish,  # pyright: ignore[reportPrivateUsage]
    do.CompleteRun: Interpreter._end,  # pyright: ignore[reportPrivateUsage]
    do.FailRun: Interpreter._end,  # pyright: ignore[reportPrivateUsage]
    do.CancelRun: Interpreter._end,  # pyright: ignore[reportPrivateUsage]
}


def workflow_class(flow: str, observe: Observer | None = None) -> type:
    """The workflow class of a flow: its own workflow type, with the interpreter's code; `observe` is for replays."""

    def begin(self: Interpreter, *arguments: Any) -> None:
        Interpreter.__init__(self, *arguments)

    async def run(self: Interpreter, *arguments: Any) -> Any:
        return await self.main(arguments)

    for function, name in ((begin, "__init__"), (run, "run")):
        function.__module__, function.__name__, function.__qualname__ = __name__, name, f"{flow}.{name}"
    body = {
        "__module__": __name__,
        "__qualname__": flow,
        "__init__": workflow.init(begin),
        "run": workflow.run(run),
        "observe": None if observe is None else staticmethod(observe),
    }
    return workflow.defn(name=flow, sandboxed=False)(type(flow, (Interpreter,), body))


def _refused(reason: str) -> ApplicationError:
    return ApplicationError(reason, type="ResponseRefused", non_retryable=True)
