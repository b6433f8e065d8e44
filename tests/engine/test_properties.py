"""Random flows under random schedules: what must hold of every run, whatever happens to it.

A world drives one run and keeps its own account; hypothesis chooses flows, schedules and their lengths. A failure
prints the three numbers that bring it back.
"""

import json
from collections.abc import Iterable
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everstep.engine.commands import Command
from everstep.engine.core import Engine
from everstep.engine.inputs import Input
from everstep.flow.definition import FlowDefinition
from tests.simulation.flows import RandomFlow
from tests.simulation.world import World

SEEDS = st.integers(0, 2**32 - 1)
lives = given(seed=SEEDS, size=st.integers(0, 8), length=st.integers(0, 120))
often = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def lived(seed: int, size: int, length: int, *, saves: bool = True) -> World:
    """A world at the end of its life."""
    world = World(RandomFlow(Random(seed), size), Random(~seed), saves=saves)
    world.live(length)
    return world


def replayed(definition: FlowDefinition, log: Iterable[Input]) -> tuple[Engine, list[list[Command]]]:
    """A new engine that was given a log, and what it commanded."""
    engine = Engine(definition)
    return engine, [engine.apply(what) for what in log]


def as_text(engine: Engine) -> str:
    """The snapshot as one string."""
    return json.dumps(engine.snapshot(), sort_keys=True)


@often
@lives
def test_nothing_is_lost_or_done_twice(seed: int, size: int, length: int) -> None:
    """Every event is run by every step that takes it, joined, asked or unhandled; every sender is told once."""
    lived(seed, size, length).settled()


@often
@lives
def test_same_log_gives_same_commands_and_same_snapshot(seed: int, size: int, length: int) -> None:
    """Also where the run that made the log was saved and restored, from JSON with sorted keys, again and again."""
    world = lived(seed, size, length)
    engine, commands = replayed(world.made.definition, world.log)
    assert commands == world.answers
    assert as_text(engine) == as_text(world.engine)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=SEEDS, size=st.integers(0, 8), length=st.integers(0, 60), cut=st.floats(0, 1))
def test_restore_at_any_point_changes_nothing(seed: int, size: int, length: int, cut: float) -> None:
    """The rest of a log gives the same from a snapshot as without one, and so does its definition from JSON."""
    world = lived(seed, size, length, saves=False)
    at = int(len(world.log) * cut)
    first, _ = replayed(world.made.definition, world.log[:at])
    definition = FlowDefinition.from_json(json.loads(json.dumps(world.made.definition.to_json(), sort_keys=True)))
    second = Engine.restore(definition, json.loads(as_text(first)))
    assert [second.apply(what) for what in world.log[at:]] == world.answers[at:]
    assert as_text(second) == as_text(world.engine)


def test_worlds_reach_every_kind_of_end() -> None:
    """The properties are not held by worlds in which nothing happens."""
    ends: set[str] = set()
    joins = requests = streams = answered = batches = 0
    for seed in range(120):
        world = lived(seed, 6, 100)
        run = world.engine.run
        ends |= {getattr(end, "kind", type(end).__name__) for end in world.ends} or {run.status}
        joins += sum(queue.done for name, queue in run.scheduler.queues.items() if name.startswith("join"))
        requests += sum(one.status == "answered" for one in run.requests.values())
        streams += run.next_stream - 1
        answered += len(world.taken)
        batches += len(world.collected)
    assert ends == {"running", "CompleteRun", "CancelRun", "step", "timeout", "stuck", "expired"}
    assert min(joins, requests, streams, answered, batches) > 20
