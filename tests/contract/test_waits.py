"""`ctx.wait_for_event`: suspended without a slot, run again from the top, nothing repeated, answered once."""

import asyncio
from typing import Any

import pytest

from everstep import Context, Workflow, catch_error, step
from everstep.errors import ResponseRefusedError, WorkflowRuntimeError
from everstep.events import Event, HumanResponseEvent, InputRequiredEvent, StartEvent, StepFailedEvent, StopEvent
from everstep.handler import WorkflowHandler
from everstep.retry_policy import retry_policy, stop_after_attempt, wait_fixed
from everstep.temporal import Limits
from everstep.temporal.devserver import DevServer
from tests.support.drivers import Driver, TemporalDriver, eventually

PASSES: dict[str, int] = {}


def passes(key: str) -> int:
    """Count one more pass under a key."""
    PASSES[key] = PASSES.get(key, 0) + 1
    return PASSES[key]


class Note(Event):
    text: str


class Word(Event):
    text: str = ""
    number: int = 0


class Question(InputRequiredEvent):
    about: str = ""


class Answer(HumanResponseEvent):
    text: str


class TwoWords(Workflow):
    @step
    async def talk(self, ctx: Context, ev: StartEvent) -> StopEvent:
        first = await ctx.wait_for_event(Word)
        second = await ctx.wait_for_event(Word)
        return StopEvent(result=[first.text, second.text, ctx.idempotency_key.rpartition("/")[2]])


async def test_two_waits_on_one_type_get_two_answers_in_order(driver: Driver) -> None:
    """Each event answers one wait; the class waited for need not stand in any signature."""
    handler = await driver.run(TwoWords)
    await driver.in_status(handler, "idle")
    await handler.send_event(Word(text="one"))
    await handler.send_event(Word(text="two"))
    assert (await driver.seen(handler)).result == ["one", "two", "1"]


async def test_an_event_that_came_early_is_kept(driver: Driver) -> None:
    """Sent before anybody waits for it, it answers the wait that comes."""

    class Late(Workflow):
        @step
        async def begin(self, ctx: Context, ev: StartEvent) -> Word:
            first = await ctx.wait_for_event(Note)
            return Word(text=first.text)

        @step
        async def end(self, ctx: Context, ev: Word) -> StopEvent:
            note = await ctx.wait_for_event(Note, requirements={"text": "early"})
            return StopEvent(result=[ev.text, note.text])

    handler = await driver.run(Late)
    await handler.send_event(Note(text="first"))
    await handler.send_event(Note(text="early"))
    assert (await driver.seen(handler)).result == ["first", "early"]


class Effects(Workflow):
    """Does one of everything before its wait, and more behind it."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> Note | None:
        count = await ctx.store.get("count", default=0)
        await ctx.store.set("count", count + 1)
        await ctx.store.set("gone", True)
        await ctx.store.delete("gone")
        ctx.send_event(Note(text="before"))
        ctx.write_event_to_stream(Word(text="before"))
        answer = await ctx.wait_for_event(Answer, waiter_event=Question(about="x"))
        await ctx.store.set("answer", [answer.text, await ctx.store.get("count")])
        ctx.write_event_to_stream(Word(text="after"))
        ctx.send_event(Note(text="after"))
        return None

    @step(num_workers=1)
    async def note(self, ctx: Context, ev: Note) -> StopEvent | None:
        notes = [*await ctx.store.get("notes", default=[]), ev.text]
        await ctx.store.set("notes", notes)
        return StopEvent(result=notes) if ev.text == "after" else None


async def test_effects_before_a_wait_commit_at_once_and_are_not_repeated(driver: Driver) -> None:
    """State, events sent and published: all there while the step waits, none twice after it."""
    handler = await driver.run(Effects)
    await driver.open_requests(handler)
    state = await eventually(lambda: noted(handler))
    assert state == {"count": 1, "notes": ["before"]}
    await handler.respond({"text": "yes"}, by="ann")
    seen = await driver.seen(handler)
    assert seen.result == ["before", "after"]
    assert seen.state == {"count": 1, "answer": ["yes", 1], "notes": ["before", "after"]}
    shown = [event.get("text", type(event).__name__) for event in seen.events]
    assert shown == ["before", "Question", "after", "StopEvent"]


async def noted(handler: WorkflowHandler) -> dict[str, Any] | None:
    """The state of a run once its note was taken."""
    state = await handler.state()
    return state if "notes" in state else None


class Fickle(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("first" if passes(ctx.run_id) == 1 else "second", 1)
        await ctx.wait_for_event(Word)
        return StopEvent()


async def test_a_pass_that_does_something_else_is_refused(driver: Driver) -> None:
    """A step that is not the same before its wait fails, and the error names both."""
    handler = await driver.run(Fickle)
    await handler.send_event(Word())
    seen = await driver.seen(handler)
    assert "did 'set second', where its first pass did 'set first'" in str(seen.error)


class Swallowing(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            word = await ctx.wait_for_event(Word)
        except Exception:
            return StopEvent(result="swallowed")
        finally:
            passes(ctx.run_id)
        return StopEvent(result=[word.text, PASSES[ctx.run_id]])


async def test_error_handling_in_a_step_does_not_swallow_the_suspension(driver: Driver) -> None:
    """`except Exception` around a wait sees nothing of it."""
    handler = await driver.run(Swallowing)
    await driver.in_status(handler, "idle")
    await handler.send_event(Word(text="x"))
    assert (await driver.seen(handler)).result == ["x", 2]


class Barely(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            word = await ctx.wait_for_event(Word)
        except BaseException:
            return StopEvent(result="swallowed")
        return StopEvent(result=word.text)


async def test_even_a_bare_except_does_not(driver: Driver) -> None:
    """What a pass does behind its suspension does not count."""
    handler = await driver.run(Barely)
    await driver.in_status(handler, "idle")
    await handler.send_event(Word(text="x"))
    assert (await driver.seen(handler)).result == "x"


class Impatient(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        try:
            await ctx.wait_for_event(Word, timeout=ev.seconds)
        except TimeoutError as error:
            return StopEvent(result=str(error))
        return StopEvent(result="came")


async def test_a_wait_times_out_inside_the_step(driver: Driver) -> None:
    """As a TimeoutError, after the time given, which the server keeps."""
    seconds = driver.span(0.3, 86_400.0)
    handler = await driver.run(Impatient, seconds=seconds)
    seen = await driver.seen(handler)
    assert seen.result == f"no Word came within {seconds:g} s for step 'work'"
    assert await driver.took(handler) >= seconds


async def test_an_answer_in_time_needs_no_timer(driver: Driver) -> None:
    """The timeout of a wait that was answered does not end anything."""
    handler = await driver.run(Impatient, seconds=3600.0)
    await driver.in_status(handler, "idle")
    await handler.send_event(Word())
    assert (await driver.seen(handler)).result == "came"


class Asks(Workflow):
    """Asks several people; each answer goes to the wait that asked. `other` must see none of them."""

    @step
    async def begin(self, ev: StartEvent) -> list[Note]:
        return [Note(text=name) for name in ev.names]

    @step(num_workers=1)
    async def ask(self, ctx: Context, ev: Note) -> Word:
        answer = await ctx.wait_for_event(Answer, waiter_event=Question(about=ev.text))
        return Word(text=f"{ev.text}: {answer.text}")

    @step
    async def join(self, ev: list[Word]) -> StopEvent:
        return StopEvent(result=sorted(word.text for word in ev))

    @step
    async def other(self, ev: Answer) -> StopEvent:
        return StopEvent(result="another step got it")


async def test_each_request_of_a_wait_is_answered_by_its_id(driver: Driver) -> None:
    """Waits hold no slot: with one worker all ask at once; they keep their stream open; ids tell answers apart."""
    handler = await driver.run(Asks, names=["a", "b", "c"])
    requests = {one["question"]["about"]: one["id"] for one in await driver.open_requests(handler, 3)}
    with pytest.raises(ResponseRefusedError, match="several requests are open"):
        await handler.respond({"text": "?"})
    for name in ("b", "c", "a"):
        await handler.respond({"text": name.upper()}, request=requests[name])
    with pytest.raises(ResponseRefusedError):
        await handler.respond({"text": "again"}, request=requests["b"])
    assert (await driver.seen(handler)).result == ["a: A", "b: B", "c: C"]


class Picky(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        word = await ctx.wait_for_event(Word, requirements={"text": ev.wanted})
        return StopEvent(result=word.text)

    @step(skip_graph_checks=["reachability"])
    async def rest(self, ctx: Context, ev: Word) -> None:
        await ctx.store.set(ev.text, True)


async def test_requirements_choose_the_event(driver: Driver) -> None:
    """Events that do not meet them go where they would go anyway; the one that does answers, and goes there too."""
    handler = await driver.run(Picky, wanted="two")
    await driver.in_status(handler, "idle")
    await handler.send_event(Word(text="one"))
    await eventually(lambda: handler.state())
    await handler.send_event(Word(text="two"))
    seen = await driver.seen(handler)
    assert (seen.result, seen.state["one"]) == ("two", True)


class Strict(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        answer = await ctx.wait_for_event(Answer, waiter_event=Question(), requirements={"code": 7})
        return StopEvent(result=answer.text)


async def test_an_answer_that_is_not_the_required_one_is_refused(driver: Driver) -> None:
    """The request stays open, and the sender is told what is required."""
    handler = await driver.run(Strict)
    await driver.open_requests(handler)
    with pytest.raises(ResponseRefusedError, match="waits for Answer with code=7"):
        await handler.respond({"text": "no", "code": 8})
    await handler.respond({"text": "yes", "code": 7})
    assert (await driver.seen(handler)).result == "yes"


class Plain(Workflow):
    """As its author would write it for LlamaIndex: base classes, keys of its own, an answer sent as an event."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        response = await ctx.wait_for_event(
            HumanResponseEvent,
            waiter_id="name",
            waiter_event=InputRequiredEvent(prefix="Your name?"),
            requirements={"user": "ann"},
        )
        return StopEvent(result=response.response)


async def test_the_documented_pattern_works(driver: Driver) -> None:
    """A question on the stream, answered by an event sent to the run."""
    handler = await driver.run(Plain)
    await driver.open_requests(handler)
    await handler.send_event(HumanResponseEvent(response="Ann", user="ann"))
    seen = await driver.seen(handler)
    assert seen.result == "Ann"
    assert seen.types() == ["InputRequiredEvent", "StopEvent"]


class Fails(Workflow):
    """Fails once before its wait and then behind it, until its policy or its handler's budget is used up."""

    @step(retry_policy=retry_policy(wait=wait_fixed(0.01), stop=stop_after_attempt(3)))
    async def work(self, ctx: Context, ev: StartEvent | Note) -> StopEvent:
        if passes(ctx.idempotency_key) == 1:
            raise ValueError("before")
        await ctx.wait_for_event(Word)
        raise ValueError(f"behind, after {ctx.retry_info().retry_number} failures")

    @catch_error(max_recoveries=2)
    async def help(self, ctx: Context, ev: StepFailedEvent) -> Note | StopEvent:
        failures = [*await ctx.store.get("failures", default=[]), [str(ev.exception), ev.attempts]]
        await ctx.store.set("failures", failures)
        return Note(text="again") if len(failures) == 1 else StopEvent(result=failures)


async def test_a_wait_resets_neither_attempts_nor_recoveries(driver: Driver) -> None:
    """Failures before a wait count behind it, for the policy and for the handler."""
    handler = await driver.run(Fails)
    await handler.send_event(Word())
    await handler.send_event(Word())
    seen = await driver.seen(handler)
    assert seen.result == [["behind, after 2 failures", 3]] * 2


class Hidden(Event):
    text: str


async def hidden_wait(ctx: Context) -> str:
    """A wait that stands outside of the flow's class."""
    return (await ctx.wait_for_event(Hidden)).text


class Helped(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> Note:
        return Note(text=await hidden_wait(ctx))

    @step
    async def both(self, ctx: Context, ev: Note) -> StopEvent:
        found = await asyncio.gather(ctx.wait_for_event(Word), ctx.wait_for_event(Hidden))
        return StopEvent(result=[ev.text, *(one.text for one in found)])


async def test_waits_in_helpers_and_side_by_side(driver: Driver) -> None:
    """A function of the flow's module may wait, and two waits may stand in one gather."""
    handler = await driver.run(Helped)
    await handler.send_event(Hidden(text="1"))
    await handler.send_event(Hidden(text="3"))
    await handler.send_event(Word(text="2"))
    assert (await driver.seen(handler)).result == ["1", "2", "3"]


class LocalWait(Workflow):
    @step(local=True)
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(Word)
        return StopEvent()


async def test_a_local_step_cannot_wait(driver: Driver) -> None:
    """The refusal names the step and the remedy."""
    seen = await driver.see(LocalWait)
    assert "step 'work' is local and waits for Word: local steps cannot wait; remove local=True" in str(seen.error)


class WrongWait(Workflow):
    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.wait_for_event(StopEvent)
        return StopEvent()


async def test_what_nobody_can_wait_for_is_refused(driver: Driver) -> None:
    """A stop event ends the run before any wait could get it."""
    assert "waits for StopEvent, which ends the run" in str((await driver.see(WrongWait)).error)


class Long(Workflow):
    """Waits again and again."""

    @step
    async def work(self, ctx: Context, ev: StartEvent) -> StopEvent:
        texts: list[str] = []
        for number in range(ev.count):
            ctx.write_event_to_stream(Note(text=f"note {number}"))
            texts.append((await ctx.wait_for_event(Word, requirements={"number": number})).text)
        return StopEvent(result="".join(texts))


async def test_waits_go_on_behind_continue_as_new(driver: Driver) -> None:
    """A run with a short history carries what waits, what was answered and what came early over its boundaries."""
    driver.limits = Limits(continue_at_events=30)
    handler = await driver.run(Long, count=12)
    for number in reversed(range(12)):
        await handler.send_event(Word(text="abcdefghijkl"[number], number=number))
    seen = await driver.seen(handler)
    assert seen.result == "abcdefghijkl"
    assert [event.text for event in seen.events if isinstance(event, Note)] == [f"note {n}" for n in range(12)]
    if isinstance(driver, TemporalDriver):
        found = await driver.client.get_workflow_handle(handler.run_id).describe()
        assert found.raw_description.workflow_execution_info.first_run_id != found.run_id


async def test_a_wait_outlives_its_worker(dev_server: DevServer) -> None:
    """Answered while no worker runs, the step goes on when one comes; it has done nothing twice."""
    driver = await TemporalDriver.connect(dev_server.address)
    runtime = await driver.runtime(Effects)
    handler = await driver.run(Effects)
    await eventually(lambda: noted(handler))
    await driver.stack.aclose()
    await driver.client.get_workflow_handle(handler.run_id).signal("respond", {"text": "yes"})
    async with driver.stack:
        await driver.serve(Effects, runtime.task_queue)
        seen = await driver.seen(handler)
    assert (seen.result, seen.state["count"]) == (["before", "after"], 1)


async def test_a_wait_ends_with_its_run(driver: Driver) -> None:
    """A run that is cancelled while a step waits is cancelled at once."""
    handler = await driver.run(TwoWords)
    await driver.in_status(handler, "idle")
    await handler.cancel_run()
    with pytest.raises(WorkflowRuntimeError):
        await handler
