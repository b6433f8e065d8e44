"""`ctx.run`: another flow as a durable child; its result, its failure, its end with its run, its requests to people."""

import asyncio
from typing import Any

import pytest

from everstep import Context, LocalRuntime, Workflow, catch_error, step, use_runtime
from everstep.errors import ChildFailedError, ResponseRefusedError, WorkflowRuntimeError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from everstep.handler import WorkflowHandler
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import Limits
from everstep.temporal.handler import TemporalHandler
from everstep.testing.environment import PATIENCE
from tests.contract.test_continue_as_new import executions
from tests.support.drivers import Driver, TemporalDriver, eventually

MARKS: dict[str, list[Any]] = {}


def mark(run: str, what: Any) -> int:
    """Leave a mark for a run; gives how many there are."""
    marks = MARKS.setdefault(run.partition("/")[0], [])
    marks.append(what)
    return len(marks)


class Text(Event):
    text: str = ""


class Begin(StartEvent):
    text: str
    times: int = 1


class Longer(StopEvent):
    text: str
    length: int


class Repeat(Workflow):
    """A child with typed events."""

    @step
    async def repeat(self, ctx: Context, ev: Begin) -> Longer:
        mark(ctx.run_id, ctx.run_id)
        text = await ctx.store.get("before", default="") + ev.text * ev.times
        return Longer(text=text, length=len(text))


class Double(Workflow):
    @step
    async def double(self, ctx: Context, ev: StartEvent) -> StopEvent:
        mark(ctx.run_id, ctx.run_id)
        return StopEvent(result=ev.number * 2)


class Calls(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        number = await ctx.run(Double, number=3)
        long = await ctx.run(Repeat, Begin(text="ab", times=2), ctx={"before": "-"})
        return StopEvent(result=[number, type(long).__name__, long.text, long.length, ctx.idempotency_key])


async def test_a_child_gives_what_its_run_would(driver: Driver) -> None:
    """A plain result or a typed stop event; begun by fields or an event, with a state; ids tell whose they are."""
    driver.also = [Double, Repeat]
    handler = await driver.run(Calls)
    seen = await driver.seen(handler)
    assert seen.result == [6, "Longer", "-abab", 5, f"{handler.run_id}/work/1"]
    assert MARKS[handler.run_id] == [f"{handler.run_id}/work-1", f"{handler.run_id}/work-2"]


class Meets(Workflow):
    """Ends when as many of them as are expected are under way."""

    @step
    async def meet(self, ctx: Context, ev: StartEvent) -> StopEvent:
        mark(ctx.run_id, ev.name)
        while len(MARKS[ctx.run_id.partition("/")[0]]) < ev.expected:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return StopEvent(result=ev.name)


class Gathers(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        names = ["a", "b", "c"]
        first = await asyncio.gather(*(ctx.run(Meets, name=name, expected=3) for name in names))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.one(ctx, name)) for name in names]
        return StopEvent(result=[first, [task.result() for task in tasks], await ctx.store.get("seen")])

    async def one(self, ctx: Context, name: str) -> Any:
        await ctx.store.set(f"seen.{name}", True)
        found = await ctx.run(Meets, name=name * 2, expected=6)
        await ctx.store.set(f"seen.{found}", True)
        return found


async def test_children_side_by_side(driver: Driver) -> None:
    """All children of a gather, or of a task group, go on at one time, and each call gets its own answer."""
    driver.also = [Meets]
    seen = await driver.see(Gathers)
    doubled = ["aa", "bb", "cc"]
    assert seen.result == [["a", "b", "c"], doubled, dict.fromkeys(["a", "b", "c", *doubled], True)]


class Mixed(Workflow):
    """Effects, a child, a wait, a child again."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("count", await ctx.store.get("count", default=0) + 1)
        ctx.write_event_to_stream(Text(text="before"))
        first = await ctx.run(Double, number=1)
        word = await ctx.wait_for_event(Text)
        second = await ctx.run(Double, number=first + 1)
        ctx.write_event_to_stream(Text(text="after"))
        return StopEvent(result=[first, word.text, second, await ctx.store.get("count")])


async def test_children_and_waits_of_one_step_get_their_own_answers(driver: Driver) -> None:
    """What stands before them is done once, however often the step runs from its top."""
    driver.also = [Double]
    handler = await driver.run(Mixed)
    await handler.send_event(Text(text="word"))
    seen = await driver.seen(handler)
    assert seen.result == [2, "word", 6, 1]
    assert [event.text for event in seen.events if isinstance(event, Text)] == ["before", "after"]


class Fails(Workflow):
    @step
    async def fail(self, ctx: Context, ev: StartEvent) -> StopEvent:
        mark(ctx.run_id, "tried")
        raise ValueError("no such thing")


class Catches(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.run(Fails)
        except ChildFailedError as error:
            parts = [error.run_id, error.flow, error.exception_type, error.message, repr(error.__cause__), str(error)]
            return StopEvent(result=parts)
        return StopEvent()


async def test_a_failed_child_raises_in_its_step(driver: Driver) -> None:
    """The error names the child, its flow and the cause, and may be caught."""
    driver.also = [Fails]
    handler = await driver.run(Catches)
    run_id, *rest, text = (await driver.seen(handler)).result
    assert run_id == f"{handler.run_id}/work-1"
    assert rest == ["Fails", "ValueError", "no such thing", "ValueError('no such thing')"]
    assert text == (f"Child run '{run_id}' of flow Fails gave no result: step 'fail' failed: ValueError: no such thing")


class Uncaught(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(2)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Fails))


class Helped(Uncaught):
    @catch_error()
    async def help(self, ctx: Context, ev: StepFailedEvent) -> StopEvent:
        return StopEvent(result=[ev.exception_type, ev.attempts, str(ev.exception).partition(":")[0]])


async def test_a_failed_child_is_an_error_of_the_step(driver: Driver) -> None:
    """Retries see it, and get the same answer again: the child is not run once more; so does the error handler."""
    driver.also = [Fails]
    handler = await driver.run(Helped)
    child = f"{handler.run_id}/work-1"
    assert (await driver.seen(handler)).result == [
        "everstep.errors.ChildFailedError",
        2,
        f"Child run '{child}' of flow Fails gave no result",
    ]
    assert MARKS[handler.run_id] == ["tried"]


async def test_an_uncaught_failure_of_a_child_fails_the_run(driver: Driver) -> None:
    """The run's error names the child."""
    driver.also = [Fails]
    assert "of flow Fails gave no result: step 'fail' failed" in str((await driver.see(Uncaught)).error)


class Flaky(Workflow):
    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        if ctx.retry_info().retry_number == 0:
            raise ValueError("before")
        number = await ctx.run(Double, number=1)
        if ctx.retry_info().retry_number == 1:
            raise ValueError("behind")
        return StopEvent(result=[number, ctx.retry_info().retry_number])


async def test_a_later_attempt_gets_the_answer_of_the_same_child(driver: Driver) -> None:
    """A child is run once, whatever its step goes through; attempts are counted on behind it."""
    driver.also = [Double]
    handler = await driver.run(Flaky)
    assert (await driver.seen(handler)).result == [2, 2]
    assert len(MARKS[handler.run_id]) == 1


class Long(Workflow):
    """Goes on until it is cancelled, and tells so."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        mark(ctx.run_id, "began")
        try:
            await asyncio.sleep(300)
        except asyncio.CancelledError:
            mark(ctx.run_id, "cancelled")
            raise
        return StopEvent()


class Middle(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Long))


class Top(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.run(Middle)
        return StopEvent()

    @step(skip_graph_checks=["reachability"])
    async def leave(self, ev: Text) -> StopEvent:
        return StopEvent(result="left")


async def began(handler: WorkflowHandler) -> bool:
    """Whether the lowest run is at work."""
    return "began" in MARKS.get(handler.run_id, ())


async def ended(handler: WorkflowHandler) -> bool:
    """Whether the lowest run was cancelled."""
    return "cancelled" in MARKS[handler.run_id]


async def test_cancelling_a_run_cancels_its_children(driver: Driver) -> None:
    """And theirs."""
    driver.limits = Limits(heartbeat_seconds=1)
    driver.also = [Middle, Long]
    handler = await driver.run(Top)
    await eventually(lambda: began(handler))
    await handler.cancel_run("enough")
    with pytest.raises(WorkflowRuntimeError, match="cancelled"):
        await handler
    await eventually(lambda: ended(handler))


async def test_children_end_with_a_run_that_completes(driver: Driver) -> None:
    """No child is left behind by a run whose stop event came from elsewhere."""
    driver.limits = Limits(heartbeat_seconds=1)
    driver.also = [Middle, Long]
    handler = await driver.run(Top)
    await eventually(lambda: began(handler))
    await handler.send_event(Text())
    assert await handler == "left"
    await eventually(lambda: ended(handler))


async def test_a_run_timeout_ends_its_children(driver: Driver) -> None:
    """The timeout of a run bounds what runs below it."""
    driver.limits = Limits(heartbeat_seconds=1)
    driver.also = [Middle, Long]
    handler = await driver.run(Top(timeout=1.5))
    with pytest.raises(WorkflowRuntimeError, match="timed out"):
        await handler
    if await began(handler):
        await eventually(lambda: ended(handler))


class Bounded(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.run(Waits, timeout=0.5)
        except ChildFailedError as error:
            return StopEvent(result=[type(error.__cause__).__name__, str(error)])
        return StopEvent()


class Waits(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        word = await ctx.wait_for_event(Text)
        return StopEvent(result=word.text)


async def test_a_child_can_be_given_a_timeout(driver: Driver) -> None:
    """It bounds the child's run, instead of what its class says."""
    driver.also = [Waits]
    kind, text = (await driver.see(Bounded)).result
    assert kind == "WorkflowTimeoutError"
    assert "the run of Waits timed out after 0.5 s" in text


class Named(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        found = await asyncio.gather(
            ctx.run(Double, number=1, run_id=f"{ctx.run_id}-mine"),
            ctx.run(Double, number=2, run_id=f"{ctx.run_id}-mine"),
            return_exceptions=True,
        )
        return StopEvent(result=[found[0], str(found[1])])


async def test_a_child_can_be_given_an_id(driver: Driver) -> None:
    """One that is taken is told in the step."""
    driver.also = [Double]
    number, text = (await driver.see(Named)).result
    assert number == 2
    assert "is under way already: choose another run_id" in text


class LocalCall(Workflow):
    @step(local=True)
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Double, number=1))


class NoFlow(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Text))  # pyright: ignore[reportArgumentType]


class NoStart(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Repeat, number=1))


class NoTime(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Double, number=1, timeout=0))


@pytest.mark.parametrize(
    ("flow", "says"),
    [
        (LocalCall, "step 'work' is local and runs the flow Double: local steps cannot run flows; remove local=True"),
        (NoFlow, "which is no flow: give a Workflow class or an instance of one"),
        (NoStart, "Repeat cannot start: Begin does not fit: text: Field required"),
        (NoTime, "with timeout=0: give seconds above 0"),
    ],
)
async def test_what_cannot_be_run_is_refused_by_name(driver: Driver, flow: type[Workflow], says: str) -> None:
    """The error comes before anything is begun, and says what to do."""
    driver.also = [Double, Repeat]
    assert says in str((await driver.see(flow)).error)


class Question(InputRequiredEvent):
    about: str


class Answer(HumanResponseEvent):
    approved: bool


class Asks(Workflow):
    @step
    async def ask(self, ev: StartEvent) -> Question:
        return Question(about=ev.about, assignee="ann")

    @step
    async def done(self, ev: Answer) -> StopEvent:
        return StopEvent(result=ev.approved)


class Between(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Asks, about=ev.about))


class AsksBelow(Workflow):
    """Has a person asked by its child, and by a child of that."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await asyncio.gather(ctx.run(Asks, about="near"), ctx.run(Between, about="far")))


async def test_requests_of_children_are_answered_at_the_run_above(driver: Driver) -> None:
    """They are listed there with the run that asks, shown on its stream, and judged where they were asked."""
    driver.also = [Asks, Between]
    handler = await driver.run(AsksBelow)
    near, far = sorted(await driver.open_requests(handler, 2), key=lambda one: one["question"]["about"], reverse=True)
    assert (near["run"], near["id"]) == (f"{handler.run_id}/work-1", f"{handler.run_id}/work-1/ask-1")
    assert far["run"] == f"{handler.run_id}/work-2/work-1"
    assert near["answer_schemas"]["Answer"]["required"] == ["approved"]
    with pytest.raises(ResponseRefusedError, match="several requests are open"):
        await handler.respond({"approved": True})
    with pytest.raises(ResponseRefusedError, match="approved"):
        await handler.respond({"approved": "perhaps"}, request=near["id"])
    await handler.respond({"approved": True}, request=near["id"], by="bob")
    with pytest.raises(ResponseRefusedError):
        await handler.respond({"approved": False}, request=near["id"])
    await driver.open_requests(handler)
    await handler.send_event(Answer(approved=False, request_id=far["id"]))
    seen = await driver.seen(handler)
    assert seen.result == [True, False]
    assert sorted(event.about for event in seen.events if isinstance(event, Question)) == ["far", "near"]
    assert await handler.requests() == []


class AsksOnce(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Between, about="it"))


async def test_the_only_request_below_needs_no_id(driver: Driver) -> None:
    """As with a request of the run itself."""
    driver.also = [Asks, Between]
    handler = await driver.run(AsksOnce)
    await driver.open_requests(handler)
    await handler.respond(Answer(approved=True))
    seen = await driver.seen(handler)
    assert seen.result is True
    assert seen.types() == ["Question", "StopEvent"]


class Expires(Workflow):
    @step
    async def ask(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.wait_for_event(Answer, waiter_event=Question(about="late"), timeout=0.3)
        except TimeoutError:
            await ctx.wait_for_event(Text)
        return StopEvent(result="expired")


class ExpiresBelow(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=await ctx.run(Expires, run_id=f"{ctx.run_id}-below"))


async def test_a_request_that_is_closed_below_is_closed_above(driver: Driver) -> None:
    """Whatever closes it: here its time is up."""
    driver.also = [Expires]
    handler = await driver.run(ExpiresBelow)
    await driver.let_pass(0.5)
    closed = await eventually(lambda: _closed(driver, handler))
    assert [one["status"] for one in closed] == ["expired"]
    await handler.cancel_run()


async def _closed(driver: Driver, handler: WorkflowHandler) -> list[dict[str, Any]]:
    found = await driver.asked(handler, lambda: handler.requests(only_open=False))
    return [one for one in found if one["status"] != "open"]


class Busy(Workflow):
    """Has a child that takes long, and notes from outside that make its own history grow."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        found = await asyncio.gather(ctx.run(Asks, about="a"), ctx.run(Loops, times=ev.times))
        return StopEvent(result=[*found, await ctx.store.get("notes")])

    @step(num_workers=1, skip_graph_checks=["reachability"])
    async def note(self, ctx: Context, ev: Text) -> None:
        await ctx.store.set("notes", await ctx.store.get("notes", default=0) + 1)


class Loops(Workflow):
    """A child with a long history of its own."""

    @step
    async def loop(self, ctx: Context, ev: StartEvent | Text) -> Text | StopEvent:
        count = await ctx.store.get("count", default=0) + 1
        await ctx.store.set("count", count)
        return Text() if count < ev.get("times", 30) else StopEvent(result=count)


async def noted(driver: Driver, handler: WorkflowHandler, count: int) -> bool:
    """Whether a run has taken so many notes."""
    return (await driver.asked(handler, handler.state)).get("notes") == count


async def test_children_go_on_while_the_run_above_continues_as_new(driver: Driver) -> None:
    """Over boundaries of the run and of its children nothing is lost: ends, requests, answers."""
    driver.limits = Limits(continue_at_events=30, drain_seconds=2)
    driver.also = [Asks, Loops]
    handler = await driver.run(Busy, times=30)
    await driver.open_requests(handler)
    for _ in range(15):
        await handler.send_event(Text())
    await eventually(lambda: noted(driver, handler, 15))
    (request,) = await driver.open_requests(handler)
    await handler.respond({"approved": True}, request=request["id"])
    assert await asyncio.wait_for(handler, PATIENCE) == [True, 30, 15]
    # The test server loses the end of an execution's history when a child ends at the same moment.
    if driver.name == "dev-server":
        assert isinstance(driver, TemporalDriver)
        assert await executions(driver, handler.run_id) > 2


async def test_a_child_is_cancelled_behind_continue_as_new(driver: Driver) -> None:
    """A run that has continued as new since it began a child ends it too."""
    driver.limits = Limits(continue_at_events=30, drain_seconds=2)
    driver.also = [Asks, Loops]
    handler = await driver.run(Busy, times=1)
    (request,) = await driver.open_requests(handler)
    for _ in range(12):
        if driver.skips_time and isinstance(handler, TemporalHandler):
            # An update that comes while the run continues as new is more than this server can take: it is too old.
            await handler.workflow.signal("send_event", {"type": "Text", "data": {}})
        else:
            await handler.send_event(Text())
    await eventually(lambda: noted(driver, handler, 12))
    await handler.cancel_run()
    with pytest.raises(WorkflowRuntimeError, match="cancelled"):
        await handler
    if isinstance(driver, TemporalDriver):
        assert driver.skips_time or await executions(driver, handler.run_id) > 1
        child = driver.client.get_workflow_handle(request["run"])
        await eventually(lambda: _status(child, "CANCELED"))


async def _status(workflow: Any, name: str) -> bool:
    return (await workflow.describe()).status.name == name


class Recursive(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        below = await ctx.run(self, depth=ev.depth - 1) if ev.depth else []
        return StopEvent(result=[ev.depth, *below])


async def test_children_are_not_counted_by_num_concurrent_runs() -> None:
    """A run that waits for a child of its own kind would wait for ever."""
    with use_runtime(LocalRuntime()):
        flow = Recursive(num_concurrent_runs=1)
        assert await asyncio.gather(flow.run(depth=2), flow.run(depth=1)) == [[2, 1, 0], [1, 0]]


async def test_what_a_child_asks_is_open_when_the_run_is_taken_up_again() -> None:
    """Children are taken down with their run; the answer reaches the one that asked, below both."""
    with use_runtime(LocalRuntime()):
        flow = AsksOnce()
        handler = flow.run(run_id="taken-down")
        await eventually(handler.requests)
        data = handler.ctx.to_dict()
        await handler.cancel_run()
        handler = flow.run(ctx=Context.from_dict(flow, data))
        await eventually(lambda: _asks(handler, "taken-down/work-1/work-1/ask-1"))
        await handler.respond({"approved": True})
        assert await handler is True


async def _asks(handler: WorkflowHandler, request: str) -> bool:
    """Whether a run tells of this request."""
    return request in [one["id"] for one in await handler.requests()]


class Wide(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        return StopEvent(result=sum(await asyncio.gather(*(ctx.run(Double, number=n) for n in range(ev.count)))))


@pytest.mark.slow
async def test_more_children_than_may_go_on_at_one_time(driver: Driver) -> None:
    """The others wait for their turn."""
    driver.also = [Double]
    handler = await driver.run(Wide, count=45)
    assert await asyncio.wait_for(handler, 90) == 45 * 44
