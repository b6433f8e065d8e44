"""Requests to people: which answer is taken, which is refused and why, and what happens when none comes in time."""

from typing import Any

import pytest

from everstep.engine import views
from everstep.engine.asking import CLOSED_REQUESTS_KEPT
from everstep.engine.commands import CancelTimer, CompleteRun, FailRun, JudgeMessage, ReplyToMessage, SetTimer
from everstep.engine.inputs import MessageMalformed, MessageReceived, MessagesJudged, Verdict
from everstep.engine.messages import Envelope
from everstep.engine.requests import CLOSED_BYTES_KEPT
from everstep.flow.definition import PROTOCOL, EventDefinition
from tests.support.engine_driver import Driver, event, flow, judging, of, step

BASES = {
    "Ask": "InputRequiredEvent",
    "Reply": "HumanResponseEvent",
    "Short": "Reply",
    "Other": "HumanResponseEvent",
}


def asking(
    count: int = 1, *more: Any, response: str | None = "Reply", protocol: int = PROTOCOL, **due: float
) -> Driver:
    """A run that waits for the answers to `count` questions."""
    ask = EventDefinition("Ask", ("InputRequiredEvent", "Event"), response=response)
    run = Driver(
        flow(
            step("begin", "StartEvent", "Ask"),
            step("answered", "Reply", "StopEvent", accept_event_subclasses=True),
            *more,
            bases=BASES,
            events={"Ask": ask},
            protocol=protocol,
        )
    )
    run.start()
    run.done("begin", sent=[Envelope("Ask", {"n": n}, **due) for n in range(count)])  # type: ignore[arg-type]
    return run


def request(run: Driver, number: int = 1) -> dict[str, Any]:
    """What people see of a request."""
    return next(one for one in views.requests(run.engine.run) if one["id"] == f"begin-{number}")


def test_answer_to_the_only_request_needs_no_id() -> None:
    """It is judged as the type that the question declares, taken, recorded and delivered."""
    run = asking()
    (judged,) = judging(run.respond({"yes": True}, by="ann"))
    assert (judged.types, judged.data) == (("Reply",), {"yes": True})
    run.now = 5.0
    run.judge()
    assert run.reply() == (True, "")
    assert run.names() == ["answered"]
    seen = request(run)
    assert (seen["status"], seen["answer"], seen["answered_by"]) == ("answered", {"yes": True}, "ann")
    assert seen["answered_at"] == "1970-01-01T00:00:05+00:00"


def test_question_without_declared_answer_takes_every_answer_of_the_flow() -> None:
    """In the order of its steps."""
    run = asking(1, step("other", "Other"), response=None)
    assert judging(run.respond({}))[0].types == ("Reply", "Other")


def test_several_open_requests_want_one_named() -> None:
    """An answer without an id is refused with the list; with one it is taken, by argument or by field."""
    run = asking(3)
    run.respond({})
    assert run.reply() == (False, 'several requests are open; name one of them as "request": begin-1, begin-2, begin-3')
    run.respond({}, request="begin-2")
    run.judge()
    run.respond({"request_id": "begin-3"})
    run.judge()
    assert list(run.engine.run.open_requests) == ["begin-1"]


def test_list_of_many_open_requests_is_cut() -> None:
    """A refusal stays readable however many requests are open."""
    run = asking(30)
    run.respond({})
    assert run.reply()[1].endswith("begin-20 and 10 more")


def test_unknown_request_is_refused_and_recorded_on_the_run() -> None:
    """The reason names the open ones."""
    run = asking()
    run.respond({"a": 1}, request="nope", by="bob")
    assert run.reply() == (False, "there is no request 'nope'; open are: begin-1")
    (kept,) = run.engine.run.refused
    assert (kept["by"], kept["message"]) == ("bob", {"a": 1})


def test_answer_that_the_types_reject_is_refused_and_the_request_stays_open() -> None:
    """The reason of the verdict reaches the sender and the record."""
    run = asking()
    run.respond({"x": 1}, by="bob")
    run.judge("yes is missing")
    assert run.reply() == (False, "yes is missing")
    seen = request(run)
    assert seen["status"] == "open"
    assert seen["refused"] == [
        {"at": "1970-01-01T00:00:00+00:00", "by": "bob", "answer": {"x": 1}, "reason": "yes is missing"}
    ]


@pytest.mark.parametrize("wrong", ["Other", "StopEvent", "Ask", "Nothing"])
def test_answer_of_a_type_that_does_not_fit_is_refused(wrong: str) -> None:
    """Only the declared answer and its subclasses are judged: nobody ends a run by an answer."""
    run = asking()
    run.respond({}, wrong)
    assert run.reply() == (False, f"{wrong} does not answer request begin-1; it takes Reply")


def test_answer_of_a_subclass_is_judged_as_such() -> None:
    """A more special answer fits."""
    run = asking()
    assert judging(run.respond({}, "Short"))[0].types == ("Short",)


def test_answer_sent_as_an_event_closes_the_request() -> None:
    """Where a flow asks by requests, an answer is an answer however it is sent."""
    run = asking()
    run.send("Reply", {"yes": True})
    run.judge()
    assert request(run)["status"] == "answered"


def test_duplicate_answer_is_refused() -> None:
    """One valid answer closes a request; the next learns when it was answered and by whom."""
    run = asking(2)
    run.respond({}, request="begin-1", by="ann")
    run.judge()
    run.respond({"n": 2}, request="begin-1", by="bob")
    assert run.reply() == (False, "request begin-1 was already answered at 1970-01-01T00:00:00+00:00 by ann")
    assert [one["by"] for one in request(run)["refused"]] == ["bob"]


def test_of_two_answers_being_judged_the_first_wins() -> None:
    """The second is refused with its verdict, though it is valid too."""
    run = asking()
    run.respond({"n": 1}, by="ann")
    run.respond({"n": 2}, by="bob")
    run.judge()
    run.judge()
    assert run.reply()[0] is False
    assert request(run)["answer"] == {"n": 1}


def test_second_answer_counts_when_the_first_is_rejected() -> None:
    """A refused try does not use the request up."""
    run = asking()
    run.respond({"n": 1})
    run.respond({"n": 2})
    run.judge("no")
    run.judge()
    assert request(run)["answer"] == {"n": 2}


def test_long_closed_requests_are_forgotten_but_not_unknown() -> None:
    """A run that asks for ever does not grow for ever; an answer to an old question still learns that it is closed."""
    kept = CLOSED_REQUESTS_KEPT
    run = asking(kept + 3)
    for number in range(kept + 2):
        run.engine.apply(MessageReceived(0.0, {}, answer=True, request=f"begin-{number + 1}"))
        run.engine.apply(MessagesJudged(0.0, [Verdict(number + 1, event("Reply"))]))
    assert len(views.requests(run.engine.run)) == kept + 1
    run.restore()
    run.respond({}, request="begin-1")
    assert run.reply() == (False, f"request begin-1 was closed; open are: begin-{kept + 3}")
    (timer,) = of(run.respond({}, request="begin-9999"), SetTimer)
    run.fire(timer.timer, timer.at)
    assert run.reply()[1].startswith("there is no request 'begin-9999'")


@pytest.mark.parametrize(("protocol", "kept"), [(2, [1, 2, 3, 4]), (3, [2, 3, 4])])
def test_closed_requests_are_carried_as_far_as_they_fit(protocol: int, kept: list[int]) -> None:
    """The latest ones, whole; one that was forgotten is not unknown, and what is open is carried whatever its size."""
    large = "x" * (CLOSED_BYTES_KEPT * 2 // 5)
    run = asking(4, step("other", "Later"), protocol=protocol)
    for number in (1, 2, 3):
        run.respond({"text": large}, request=f"begin-{number}")
        run.judge()
    run.restore()
    assert [one["id"] for one in views.requests(run.engine.run)] == [f"begin-{number}" for number in kept]
    run.respond({}, request="begin-1")
    assert not run.reply()[0]
    assert run.reply()[1].startswith("request begin-1 was ")


def test_nothing_to_answer() -> None:
    """A run without open requests says so."""
    run = asking(0)
    run.respond({})
    assert run.reply() == (False, "the run of Flow has failed; it takes no more messages")
    run = asking(0, step("other", "Later"))
    run.respond({})
    assert run.reply() == (False, "no request is open, so there is nothing to answer")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (MessageReceived(0, [1], answer=True), "the data of a message must be a JSON object; got [1]"),  # type: ignore[arg-type]
        (MessageReceived(0, {}, answer=True, request=["x"]), "the request of a message must be a string; got ['x']"),  # type: ignore[arg-type]
        (MessageReceived(0, {}, type={}), "the type of a message must be a string; got {}"),  # type: ignore[arg-type]
        (MessageReceived(0, {}, "Later", step=3), "the step of a message must be a string; got 3"),  # type: ignore[arg-type]
        (MessageReceived(0, {}, "Later", key=[]), "the key of a message must be a string; got []"),  # type: ignore[arg-type]
        (MessageReceived(0, {}), 'the event names no type; send {"type": …, "data": {…}}'),
        (MessageReceived(0, {}, "Later", step="x"), "there is no step 'x'; the steps are begin, answered"),
    ],
)
def test_malformed_message_is_refused_and_the_run_goes_on(message: MessageReceived, reason: str) -> None:
    """Whatever is sent: the sender learns why it is refused."""
    run = asking()
    run.apply(message)
    assert run.reply() == (False, reason)
    assert views.status(run.engine.run) == "waiting"


def test_what_is_no_message_is_recorded() -> None:
    """It has no sender to tell; people see it on the run, cut when it is long."""
    run = asking()
    run.apply(MessageMalformed(0, "x" * 10_000, "not JSON", "eve"))
    (kept,) = run.engine.run.refused
    assert (kept["by"], kept["reason"], len(kept["message"])) == ("eve", "not JSON", 2001)


def test_refused_tries_do_not_grow_without_bound() -> None:
    """A hundred are kept with the request; the sender of each is told."""
    run = asking()
    for _ in range(120):
        run.respond({}, "Other")
    assert len(request(run)["refused"]) == 100


def test_message_sent_again_is_taken_once() -> None:
    """The key of an accepted message is remembered, also when it ended the request or the run."""
    run = asking()
    run.respond({}, key="k1")
    run.judge()
    run.respond({}, key="k1")
    assert run.reply() == (True, "")
    run.done("answered", event("StopEvent"))
    run.respond({}, key="k1")
    assert run.reply() == (True, "")
    run.respond({}, key="k2")
    assert run.reply() == (False, "the run of Flow has completed; it takes no more messages")


def test_message_sent_again_while_it_is_judged_shares_the_verdict() -> None:
    """It is judged once, and both senders are told."""
    run = asking()
    run.respond({}, key="k")
    assert run.respond({}, key="k") == []
    run.judge()
    assert [(one.message, one.accepted) for one in of(run.last, ReplyToMessage)] == [(1, True), (2, True)]
    assert request(run)["refused"] == []


def test_key_of_a_refused_message_may_be_used_again() -> None:
    """Mending an answer and sending it under the same key works."""
    run = asking()
    run.respond({}, key="k")
    run.judge("no")
    run.respond({}, key="k")
    run.judge()
    assert run.reply() == (True, "")


def test_due_sets_a_timer_and_an_answer_cancels_it() -> None:
    """In seconds from the commit."""
    run = asking(due_in=60.0)
    assert of(run.commands, SetTimer) == [SetTimer("due:begin-1", 60.0)]
    run.respond({})
    assert of(run.judge(), CancelTimer) == [CancelTimer("due:begin-1")]


def test_expiry_is_an_event_where_a_step_takes_it() -> None:
    """The step is told which request, of whom, when and what was asked."""
    run = asking(1, step("late", "InputExpiredEvent", "StopEvent"), due_at=60.0)
    run.fire("due:begin-1", 60.0)
    call = run.run_of("late").event
    assert call is not None
    assert call.data == {
        "request_id": "begin-1",
        "step_name": "begin",
        "due": "1970-01-01T00:01:00+00:00",
        "question": {"n": 0},
    }
    assert request(run)["status"] == "expired"


def test_expiry_is_an_answer_where_no_step_takes_the_event() -> None:
    """It is built by the user's types and delivered like an answer; nobody is told of it."""
    run = asking(due_in=60.0)
    (judged,) = judging(run.fire("due:begin-1", 60.0))
    assert (judged.types, judged.data) == (("Reply",), {"request_id": "begin-1", "expired": True})
    assert of(run.judge(), ReplyToMessage) == []
    assert run.names() == ["answered"]


def test_only_the_engine_s_own_answer_says_so() -> None:
    """Whoever judges is told which one that is, also when it is asked again behind a boundary."""
    run = asking(due_in=60.0)
    assert [one.outside for one in judging(run.respond({"expired": True}))] == [True]
    run.judge("no")
    assert [one.outside for one in judging(run.fire("due:begin-1", 60.0))] == [False]
    assert [one.outside for one in judging(run.crash())] == [False]


@pytest.mark.parametrize(("protocol", "status"), [(2, "open"), (3, "answered")])
def test_an_answer_for_one_step_is_an_answer(protocol: int, status: str) -> None:
    """It closes the request; runs of an older protocol go on taking it as an event."""
    run = asking(2, step("later", "Reply"), protocol=protocol)
    run.send("Reply", {"request_id": "begin-2"}, step="later")
    run.judge()
    assert run.names()[-1] == "later"
    assert request(run, 2)["status"] == status


def test_expiry_that_nothing_can_take_fails_the_run() -> None:
    """The message names the request and both remedies."""
    run = asking(due_in=60.0)
    run.fire("due:begin-1", 60.0)
    (failed,) = of(run.judge("yes is missing"), FailRun)
    assert failed.kind == "expired"
    assert failed.message == (
        "request begin-1 of step 'begin' expired at 1970-01-01T00:01:00+00:00 unanswered, and no step takes "
        "InputExpiredEvent. Add a step that does, or give Reply defaults so that an answer with expired=True can be "
        "built (yes is missing)."
    )


def test_expired_answer_that_no_step_takes_fails_the_run() -> None:
    """It is not dropped in silence."""
    run = asking(1, step("later", "Later"), response="Other", due_in=60.0)
    run.fire("due:begin-1", 60.0)
    (failed,) = of(run.judge(), FailRun)
    assert "no step of Flow accepts Other" in failed.message


def test_answer_after_expiry_is_refused() -> None:
    """Late is late, also while the expiry itself is being judged."""
    run = asking(2, due_in=60.0)
    run.fire("due:begin-1", 60.0)
    run.respond({}, request="begin-1")
    late = "request begin-1 was due at 1970-01-01T00:01:00+00:00; this answer came too late"
    assert run.reply() == (False, late)


def test_answer_being_judged_when_the_time_is_up_still_counts() -> None:
    """It came in time; one that comes after it does not."""
    run = asking(1, step("late", "InputExpiredEvent"), due_in=60.0)
    run.respond({"n": 1})
    assert run.fire("due:begin-1", 60.0) == []
    run.respond({"n": 2}, request="begin-1")
    assert run.reply()[0] is False
    run.judge()
    assert run.names() == ["answered"]


def test_request_expires_when_the_answer_that_came_in_time_is_refused() -> None:
    """The expiry waits for the verdict and no longer."""
    run = asking(1, step("late", "InputExpiredEvent"), due_in=60.0)
    run.respond({})
    run.fire("due:begin-1", 60.0)
    run.judge("no")
    assert run.names() == ["late"]


def test_stale_timer_does_nothing() -> None:
    """A timer that fires though it was cancelled finds its request closed."""
    run = asking(2, due_in=60.0)
    run.respond({}, request="begin-1")
    run.judge()
    assert run.fire("due:begin-1", 60.0) == []
    assert run.fire("nonsense", 60.0) == []


def test_question_that_a_step_takes_is_delivered_too() -> None:
    """A step may watch questions."""
    run = asking(1, step("watch", "Ask"))
    assert run.names() == ["watch"]
    assert len(run.engine.run.open_requests) == 1


def test_end_of_the_run_closes_open_requests_and_refuses_what_is_judged() -> None:
    """Nothing stays open, and nobody waits for a verdict that cannot come."""
    run = asking(2, step("other", "Later", "StopEvent"), due_in=60.0)
    run.send("Later")
    run.respond({}, request="begin-1", by="ann")
    run.judge()
    ended = run.done("other", event("StopEvent"))
    assert of(ended, CompleteRun)
    assert run.reply() == (False, "the run of Flow has completed; it takes no more messages")
    assert [one["status"] for one in views.requests(run.engine.run)] == ["closed", "closed"]
    assert views.progress(run.engine.run)["open_requests"] == []
    assert [one["by"] for one in request(run)["refused"]] == ["ann"]


def test_judging_again_after_a_crash() -> None:
    """A message whose verdict was outstanding is judged again, in its old place."""
    run = asking(due_in=60.0)
    run.respond({"n": 1}, key="k")
    run.respond({"n": 1}, key="k")
    again = run.crash()
    assert [type(one) for one in again] == [SetTimer, JudgeMessage]
    run.judge()
    assert [one.accepted for one in of(run.last, ReplyToMessage)] == [True, True]


def about_to_ask(*, protocol: int = 2) -> Driver:
    """A run whose first step runs, and of which nobody knows yet that it asks."""
    run = Driver(
        flow(
            step("begin", "StartEvent", "Ask"),
            step("answered", "Reply", "StopEvent"),
            bases=BASES,
            protocol=protocol,
        )
    )
    run.start()
    return run


@pytest.mark.parametrize("request_id", [None, "begin-1"])
def test_answer_that_overtakes_its_question_is_looked_at_again(request_id: str | None) -> None:
    """Workflow code may be told of an answer before it is told of the outcome that asked: it is taken all the same."""
    run = about_to_ask()
    (timer,) = of(run.respond({"yes": True}, request=request_id), SetTimer)
    run.done("begin", Envelope("Ask", {}))
    (judged,) = judging(run.fire(timer.timer, timer.at))
    assert judged.types == ("Reply",)
    run.judge()
    assert run.reply() == (True, "")
    assert run.names() == ["answered"]


def test_answer_to_nothing_is_refused_at_the_second_look() -> None:
    """Once, with the reason; the run does not rest before."""
    run = about_to_ask()
    (timer,) = of(run.respond({"yes": True}, request="nope"), SetTimer)
    run.restore()
    run.fire(timer.timer, timer.at)
    assert run.reply() == (False, "there is no request 'nope'; open are: none")
    assert not run.engine.run.early


def test_runs_of_the_first_protocol_look_once() -> None:
    """Their histories have no such timer."""
    run = about_to_ask(protocol=1)
    assert not of(run.respond({"yes": True}), SetTimer)
    assert run.reply() == (False, "no request is open, so there is nothing to answer")
