"""List returns open streams, joins close them: nested, partial, empty, failing and waiting ones."""

from everstep.engine.commands import CompleteRun, FailRun, Publish
from everstep.flow.definition import FlowDefinition
from tests.support.engine_driver import STOP, Driver, event, flow, of, step

FAN = flow(
    step("split", "StartEvent", "[Item]", feeds=("join",)),
    step("work", "Item", "Done"),
    step("join", "Done", "StopEvent", join=True),
    step("other", "Later"),
)


def batch(run: Driver, name: str = "join") -> list[int]:
    """The numbers of the events that a join was given."""
    given = run.run_of(name).batch
    assert given is not None
    return [one.data["n"] for one in given]


def started(definition: FlowDefinition, *items: int) -> Driver:
    """A run whose first step returned these items."""
    run = Driver(definition)
    run.start()
    run.done("split", [event("Item", n=n) for n in items])
    return run


def test_join_gets_all_members_in_order_of_completion() -> None:
    """It fires once, when nothing of the stream is open any more."""
    run = started(FAN, 1, 2, 3)
    run.done("work", event("Done", n=1))
    run.done("work", event("Done", n=2))
    assert run.names() == ["work"]
    run.done("work", event("Done", n=3))
    assert batch(run) == [1, 2, 3]
    assert of(run.done("join", STOP), CompleteRun)


def test_empty_list_fires_the_join_at_once() -> None:
    """No members are members too."""
    assert batch(started(FAN)) == []


def test_members_that_return_nothing_are_left_out() -> None:
    """None drops out of the stream."""
    run = started(FAN, 1, 2)
    run.done("work")
    run.done("work", event("Done", n=2))
    assert batch(run) == [2]


def test_none_opens_no_stream() -> None:
    """A step that may return a list and returns None fires no join."""
    run = Driver(FAN)
    run.start()
    run.done("split")
    assert run.names() == []


def test_what_a_member_sends_belongs_to_its_stream() -> None:
    """Sent events reach the join of the stream as returned ones do."""
    run = started(FAN, 1)
    run.done("work", event("Done", n=1), sent=[event("Done", n=10), event("Item", n=2)])
    run.done("work", event("Done", n=2))
    assert batch(run) == [10, 1, 2]


def test_stop_event_in_the_middle_of_a_list_ends_the_run() -> None:
    """Members before it are given out and cancelled, those after it are not."""
    run = Driver(FAN)
    run.start()
    end = run.done("split", [event("Item", n=1), STOP, event("Item", n=2)])
    assert [type(one) for one in end] == [CompleteRun]
    assert run.engine.run.streams.keys() == {0}


TAKE = flow(
    step("split", "StartEvent", "[Item]", feeds=("join",)),
    step("work", "Item", "Done"),
    step("join", "Done", "Joined", join=True, take=2),
    step("end", "Joined", "StopEvent"),
    step("other", "Later"),
)


def test_take_fires_with_the_first_and_lets_the_rest_go() -> None:
    """A join of the first two fires once, though four come."""
    run = started(TAKE, 1, 2, 3, 4)
    run.done("work", event("Done", n=1))
    run.done("work", event("Done", n=2))
    assert batch(run) == [1, 2]
    run.done("work", event("Done", n=3))
    run.done("work", event("Done", n=4))
    run.done("join", event("Joined"))
    assert run.names() == ["end"]


def test_take_fires_with_fewer_when_no_more_can_come() -> None:
    """The stream's end fires it with what it has."""
    run = started(TAKE, 1)
    run.done("work", event("Done", n=1))
    assert batch(run) == [1]


def test_take_without_a_stream_is_the_same_from_rest_to_rest() -> None:
    """Outside of streams what comes until the run rests counts as one; what is too many is let go there too."""
    run = Driver(
        flow(
            step("begin", "StartEvent"),
            step("more", "Later"),
            step("join", "Done", "StopEvent", join=True, take=2),
        )
    )
    run.start()
    run.done("begin", sent=[event("Done", n=n) for n in range(5)])
    assert batch(run) == [0, 1]
    run.done("join")
    assert run.names() == []
    run.send("Later")
    run.judge()
    run.done("more", sent=[event("Done", n=n) for n in range(6, 9)])
    assert batch(run) == [6, 7]


def test_runs_of_the_first_protocol_begin_the_next_batch_with_the_surplus() -> None:
    """What was recorded goes on as it began."""
    definition = flow(step("begin", "StartEvent"), step("join", "Done", "StopEvent", join=True, take=2), protocol=1)
    run = Driver(definition)
    run.start()
    run.done("begin", sent=[event("Done", n=n) for n in range(4)])
    assert run.names() == ["join", "join"]


NESTED = flow(
    step("split", "StartEvent", "[Item]", feeds=("outer",)),
    step("part", "Item", "[Part]", feeds=("inner",)),
    step("work", "Part", "Piece"),
    step("inner", "Piece", "Done", join=True),
    step("outer", "Done", "StopEvent", join=True),
    step("other", "Later"),
)


def test_nested_streams_join_inside_out() -> None:
    """Each inner join gets the members of its own stream, the outer join the inner joins' results."""
    run = started(NESTED, 1, 2)
    run.done("part", [event("Part", n=11), event("Part", n=12)])
    run.done("part", [event("Part", n=21)])
    for n in (11, 12, 21):
        run.done("work", event("Piece", n=n))
    assert batch(run, "inner") == [11, 12]
    run.done("inner", event("Done", n=1))
    assert batch(run, "inner") == [21]
    run.done("inner", event("Done", n=2))
    assert batch(run, "outer") == [1, 2]


def test_empty_inner_stream_fires_its_own_join_only() -> None:
    """The outer stream waits for the inner join."""
    run = started(NESTED, 1)
    run.done("part", [])
    assert (run.names(), batch(run, "inner")) == (["inner"], [])
    run.done("inner")
    assert batch(run, "outer") == []


def test_event_for_an_outer_join_passes_the_inner_stream() -> None:
    """A join takes members from the nearest stream that feeds it, through streams that do not."""
    run = started(NESTED, 1)
    run.done("part", [event("Part", n=1)])
    run.done("work", sent=[event("Done", n=7)])
    run.done("inner")
    assert batch(run, "outer") == [7]


def both_levels(protocol: int) -> Driver:
    """A run with two items, where a join is fed by the stream of the items and by streams within it."""
    definition = flow(
        step("split", "StartEvent", "[Item]", feeds=("join",)),
        step("part", "Item", "[Part] Done", feeds=("join",)),
        step("work", "Part", "Done"),
        step("join", "Done", "Joined", join=True),
        step("end", "Joined"),
        step("other", "Later", "StopEvent"),
        protocol=protocol,
    )
    return started(definition, 1, 2)


def test_an_outer_stream_does_not_fire_a_join_that_inner_ones_have_fired() -> None:
    """Its members went the inner way, and none is its own."""
    run = both_levels(2)
    run.done("part", [event("Part", n=1)])
    run.done("part", [])
    run.done("work", event("Done", n=1))
    assert run.names() == ["join", "join"]
    run.done("join")
    run.done("join")
    assert run.names() == []


def test_an_outer_stream_fires_a_join_that_has_members_of_its_own() -> None:
    """Beside those of the inner ones, which were joined there."""
    run = both_levels(2)
    run.done("part", [event("Part", n=1)])
    run.done("part", event("Done", n=5))
    run.done("work", event("Done", n=1))
    assert batch(run) == [1]
    run.done("join")
    assert batch(run) == [5]


def test_that_inner_streams_have_fired_a_join_is_not_forgotten() -> None:
    """Over several levels, and over a crash."""
    run = Driver(
        flow(
            step("split", "StartEvent", "[Item]", feeds=("join",)),
            step("part", "Item", "[Item] [Part]", feeds=("join",)),
            step("work", "Part", "Done"),
            step("join", "Done", join=True),
            step("other", "Later", "StopEvent"),
        )
    )
    run.start()
    run.done("split", [event("Item"), event("Item")])
    run.done("part", [event("Item")])
    run.done("part")
    run.done("part", [event("Part")])
    run.done("work", event("Done", n=1))
    assert batch(run) == [1]
    run.crash()
    run.done("join")
    assert run.names() == []


def test_runs_of_the_first_protocol_fire_it_empty() -> None:
    """What was recorded goes on as it began."""
    run = both_levels(1)
    run.done("part", [])
    run.done("part", [])
    run.done("join")
    run.done("join")
    assert batch(run) == []


LOOSE = flow(
    step("begin", "StartEvent"),
    step("work", "Item", "Done"),
    step("join", "Done", "Joined", join=True),
    step("end", "Joined"),
    step("other", "Later", "StopEvent"),
)


def test_join_without_a_stream_fires_when_the_run_comes_to_rest() -> None:
    """Events sent one by one are joined when nothing else is under way."""
    run = Driver(LOOSE)
    run.start()
    run.done("begin", sent=[event("Item", n=1), event("Item", n=2)])
    run.done("work", event("Done", n=1))
    run.done("work", event("Done", n=2))
    assert batch(run) == [1, 2]


def test_joins_without_a_stream_fire_together() -> None:
    """At rest all of them start, each with its own members."""
    run = Driver(
        flow(
            step("begin", "StartEvent"),
            step("odd", "Odd", "StopEvent", join=True),
            step("even", "Even", "StopEvent", join=True),
        )
    )
    run.start()
    run.done("begin", sent=[event("Even", n=2), event("Odd", n=1), event("Even", n=4)])
    assert run.names() == ["even", "odd"]
    assert (batch(run, "odd"), batch(run, "even")) == ([1], [2, 4])


def test_join_without_a_stream_fires_again() -> None:
    """The run's own scope never closes: what comes later makes a new batch."""
    run = Driver(LOOSE)
    run.start()
    run.done("begin", event("Done", n=1))
    run.done("join", sent=[event("Item", n=2)])
    run.done("work", event("Done", n=2))
    assert batch(run) == [2]


def test_request_keeps_its_stream_open() -> None:
    """A join waits for the answers that its members wait for; the answer goes on in their stream."""
    run = Driver(
        flow(
            step("split", "StartEvent", "[Item]", feeds=("join",)),
            step("work", "Item", "Ask Done"),
            step("answered", "Reply", "Done"),
            step("join", "Done", "StopEvent", join=True),
            bases={"Ask": "InputRequiredEvent", "Reply": "HumanResponseEvent"},
        )
    )
    run.start()
    run.done("split", [event("Item", n=1), event("Item", n=2)])
    run.done("work", event("Done", n=1))
    run.done("work", event("Ask"))
    assert run.names() == []
    run.respond({"ok": True})
    run.judge()
    run.done("answered", event("Done", n=2))
    assert batch(run) == [1, 2]


def test_handled_failure_of_a_member_stays_in_its_stream() -> None:
    """The handler's result takes the place of what the member would have given."""
    run = Driver(
        flow(
            step("split", "StartEvent", "[Item]", feeds=("join",)),
            step("work", "Item", "Done"),
            step("help", "StepFailedEvent", "Done", role="catch_error"),
            step("join", "Done", "StopEvent", join=True),
        )
    )
    run.start()
    run.done("split", [event("Item", n=1), event("Item", n=2)])
    run.fail("work")
    run.done("work", event("Done", n=2))
    assert run.names() == ["help"]
    run.done("help", event("Done", n=1))
    assert batch(run) == [2, 1]


def test_deeply_nested_streams_close_together() -> None:
    """A list returned from within a list, again and again, closes from the innermost outwards in one go."""
    run = Driver(
        flow(
            step("split", "StartEvent", "[Item]", feeds=("join",)),
            step("work", "Item", "[Item] Done"),
            step("join", "Done", "StopEvent", join=True),
        )
    )
    run.start()
    run.done("split", [event("Item", n=0)])
    for _ in range(50):
        run.done("work", [event("Item", n=0)])
    run.done("work")
    assert batch(run) == []


def test_unhandled_member_does_not_hold_its_stream() -> None:
    """A member that nobody takes is shown as unhandled, and the stream closes without it."""
    run = Driver(FAN)
    run.start()
    assert of(run.done("split", [event("Nobody")]), Publish)
    assert batch(run) == []


def test_flow_whose_steps_gave_nothing_is_stuck() -> None:
    """Where nothing can come from outside, a run at rest has failed, and the message names the last step."""
    run = Driver(flow(step("split", "StartEvent", "[Item]"), step("work", "Item", "StopEvent")))
    run.start()
    run.done("split", [event("Item", n=1)])
    (stuck,) = of(run.done("work"), FailRun)
    assert stuck.kind == "stuck"
    assert "The last step was 'work'" in stuck.message
