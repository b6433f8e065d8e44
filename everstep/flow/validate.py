"""Checks a flow definition: can it start, can it end, does every event have a taker and every step a way in and out.

Every fault is one line that names the flow or step, says what is wrong, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from everstep.errors import WorkflowConfigurationError, WorkflowValidationError
from everstep.flow.definition import EventDefinition, FlowDefinition, StepDefinition
from everstep.flow.streams import accepts, filled, slots_of, stream_levels, top_level


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a flow. `configuration` marks those without whose mending nothing else can be said."""

    message: str
    configuration: bool = False

    def __str__(self) -> str:
        return self.message


def validate(definition: FlowDefinition, skipped: Collection[str] = ()) -> list[Problem]:
    """All faults of a flow, in the order in which to mend them; empty if it is well made.

    `skipped` are checks that are left out for all its steps: ``"reachability"``, ``"dead_end"``, and
    ``"terminal_event"``, which asks whether each event that a step returns has a taker.
    """
    if not definition.steps:
        return [Problem(f"Flow {definition.name} has no steps: decorate methods with @step.", configuration=True)]
    if skipped:
        steps = {
            name: replace(step, skip_graph_checks=(*step.skip_graph_checks, *skipped))
            for name, step in definition.steps.items()
        }
        definition = replace(definition, steps=steps)
    ends = [*_start_problems(definition), *_stop_problems(definition)]
    problems = [*ends, *_step_problems(definition), *_join_problems(definition), *_handler_problems(definition)]
    problems += [*_event_problems(definition), *_together_problems(definition)]
    # Where a flow has no start or no end, no step is reachable or leads anywhere: saying so of each would only hide it.
    return problems if ends else [*problems, *_path_problems(definition)]


def check(definition: FlowDefinition, skipped: Collection[str] = ()) -> None:
    """Refuse a flow that cannot work; `skipped` as in `validate`.

    Raises:
        WorkflowConfigurationError: it has no steps, or not exactly one start and one stop event type.
        WorkflowValidationError: it has other faults. `problems` of either lists all.
    """
    problems = validate(definition, skipped)
    if not problems:
        return
    lines = [str(problem) for problem in problems]
    kind = WorkflowConfigurationError if any(each.configuration for each in problems) else WorkflowValidationError
    many = f"Flow {definition.name} has {len(lines)} faults:\n" + "\n".join(f"- {line}" for line in lines)
    one = lines[0] if definition.name in lines[0] else f"Flow {definition.name}: {lines[0]}"
    raise kind(one if len(lines) == 1 else many, lines)


def _start_problems(flow: FlowDefinition) -> Iterator[Problem]:
    starts = _of_kind(flow, (name for step in flow.steps.values() for name in step.accepts), "StartEvent")
    if not starts:
        yield Problem(
            f"Flow {flow.name} cannot start: no step takes a StartEvent; annotate the event of its first step with "
            "StartEvent or a subclass.",
            configuration=True,
        )
    if len(starts) > 1:
        yield Problem(
            f"Flow {flow.name} has several start events ({', '.join(starts)}): keep one, and tell the cases apart by "
            "its fields.",
            configuration=True,
        )


def _stop_problems(flow: FlowDefinition) -> Iterator[Problem]:
    if not flow.stops:
        yield Problem(
            f"Flow {flow.name} cannot end: no step returns a StopEvent; annotate the return of its last step with "
            "StopEvent or a subclass.",
            configuration=True,
        )
    if len(flow.stops) > 1:
        yield Problem(
            f"Flow {flow.name} has several stop events ({', '.join(flow.stops)}): keep one, and tell the cases apart "
            "by its fields.",
            configuration=True,
        )


def _step_problems(flow: FlowDefinition) -> Iterator[Problem]:
    for step in flow.steps.values():
        stops = _of_kind(flow, step.accepts, "StopEvent")
        if stops:
            yield Problem(
                f"Step {step.name!r} takes {stops[0]}, which ends the run before any step could: take another event."
            )
        if step.local and step.task_queue is not None:
            yield Problem(f"Step {step.name!r} is local and has a task queue: leave out one of them.")


def _join_problems(flow: FlowDefinition) -> Iterator[Problem]:
    levels = stream_levels(flow.steps, flow.events)
    on_streams = [flow.events[name] for name in dict.fromkeys(name for level in levels.values() for name in level)]
    for step in flow.steps.values():
        if not step.join:
            continue
        missing = [name for name in step.accepts if not any(_matches(step, name, each) for each in on_streams)]
        if missing:
            yield Problem(
                f"Step {step.name!r} joins list[{' | '.join(missing)}], and no stream brings "
                f"{'it' if len(missing) == 1 else 'them'}: let a step before it return list[...], or gather single "
                "events with ctx.collect_events."
            )


def _together_problems(flow: FlowDefinition) -> Iterator[Problem]:
    """Steps with several parameters whose events never come in one stream, or all outside of streams."""
    several = [step for step in flow.steps.values() if step.parameters and "reachability" not in step.skip_graph_checks]
    if not several:
        return
    outside = [name for name in (flow.start, *flow.external()) if name]
    levels = {"outside of streams": top_level(flow.steps, flow.events, outside)} | {
        f"in the streams of step {name!r}": level for name, level in stream_levels(flow.steps, flow.events).items()
    }
    for step in several:
        if any(filled(step, map(flow.events.__getitem__, level)) for level in levels.values()):
            continue
        places = [
            [where for where, level in levels.items() if any(accepts(slot, flow.events[kind]) for kind in level)]
            for slot in slots_of(step)
        ]
        if not all(places):  # what comes nowhere is told by other checks
            continue
        told = "; ".join(
            f"{each.name!r} ({' | '.join(each.accepts)}) comes {' and '.join(where)}"
            for each, where in zip(step.parameters, places, strict=True)
        )
        yield Problem(
            f"Step {step.name!r} starts when one event for each parameter has come in one place, and these never do: "
            f"{told}. Let them come in the same stream, or take one and wait for the other with ctx.wait_for_event."
        )


def _handler_problems(flow: FlowDefinition) -> Iterator[Problem]:
    handlers = [step for step in flow.steps.values() if step.role == "catch_error"]
    general = [step.name for step in handlers if step.for_steps is None]
    if len(general) > 1:
        yield Problem(
            f"Handlers {', '.join(map(repr, general))} all cover every step: keep one, and give the others for_steps."
        )
    owner: dict[str, str] = {}
    for handler in handlers:
        for name in handler.for_steps or ():
            covered = flow.steps.get(name)
            if covered is None:
                yield Problem(
                    f"Handler {handler.name!r} names the step {name!r}, which the flow does not have: it has "
                    f"{', '.join(step.name for step in flow.steps.values() if step.role == 'step')}."
                )
            elif covered.role == "catch_error":
                yield Problem(f"Handler {handler.name!r} names {name!r}, which is a handler itself: remove it.")
            elif name in owner and owner[name] != handler.name:
                yield Problem(
                    f"Step {name!r} is covered by the handlers {owner[name]!r} and {handler.name!r}: keep it in one."
                )
            owner.setdefault(name, handler.name)


def _event_problems(flow: FlowDefinition) -> Iterator[Problem]:
    produced = [flow.events[name] for name in dict.fromkeys((flow.start, *sorted(flow.produced()))) if name]
    for step in flow.steps.values():
        for name in step.accepts:
            if _comes_from_outside(flow.events[name]) or step.role == "catch_error" or step.join:
                continue
            if "reachability" in step.skip_graph_checks:  # its author says that events from outside lead to it
                continue
            if not any(_matches(step, name, each) for each in produced):
                yield Problem(
                    f"Step {step.name!r} takes {name}, which no step returns: add it to the return annotation of the "
                    "step that sends it, remove it, or write skip_graph_checks=['reachability'] if outsiders send it."
                )
    for step in flow.steps.values():
        for name in dict.fromkeys((*step.returns, *step.returns_list)):
            event = flow.events[name]
            if _goes_outside(event) or any(accepts(taker, event) for taker in flow.steps.values()):
                continue
            if "terminal_event" in step.skip_graph_checks:
                continue
            yield Problem(
                f"Step {step.name!r} returns {name}, which no step takes: write a step that does, or return a "
                "StopEvent or an InputRequiredEvent."
            )


def _path_problems(flow: FlowDefinition) -> Iterator[Problem]:
    graph = _Graph(flow)
    for step in flow.steps.values():
        if step.name not in graph.reached and "reachability" not in step.skip_graph_checks:
            yield Problem(
                f"Step {step.name!r} is never reached from {flow.start} or an answer: let a reached step return "
                "what it takes, or write skip_graph_checks=['reachability'] if an event from outside leads to it."
            )
        returns = (*step.returns, *step.returns_list)
        if returns and step.name not in graph.ending and "dead_end" not in step.skip_graph_checks:
            yield Problem(
                f"Step {step.name!r} is a dead end: from {', '.join(dict.fromkeys(returns))} no way leads to a "
                "StopEvent or an InputRequiredEvent; let it, or a step after it, return one."
            )


class _Graph:
    """Which steps are reached from the start or from an answer, and which lead to an end or to a question."""

    def __init__(self, flow: FlowDefinition) -> None:
        steps, events = flow.steps, flow.events
        takers = {
            name: [step.name for step in steps.values() if accepts(step, event)] for name, event in events.items()
        }
        outputs = {name: (*step.returns, *step.returns_list) for name, step in steps.items()}
        entries = [name for name, event in events.items() if name == flow.start or _begins_a_path(event)]
        first = [name for kind in entries for name in takers[kind]]
        first += [step.name for step in steps.values() if step.role == "catch_error"]
        self.reached = _reach(first, lambda step: (taker for kind in outputs[step] for taker in takers[kind]))
        makers: dict[str, list[str]] = {name: [] for name in steps}
        for name, kinds in outputs.items():
            for kind in kinds:
                for taker in takers[kind]:
                    makers[taker].append(name)
        last = [name for name, kinds in outputs.items() if any(_goes_outside(events[kind]) for kind in kinds)]
        self.ending = _reach(last, lambda step: makers[step])


def _reach(seeds: Iterable[str], following: Callable[[str], Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(seeds)
    while waiting:
        step = waiting.pop()
        if step not in seen:
            seen.add(step)
            waiting.extend(following(step))
    return seen


def _matches(step: StepDefinition, wanted: str, event: EventDefinition) -> bool:
    return event.name == wanted or (step.accept_event_subclasses and wanted in event.ancestors)


_FROM_OUTSIDE = (
    "StartEvent",
    "HumanResponseEvent",
    "InputRequiredEvent",
    "InputExpiredEvent",
    "StepFailedEvent",
    "StopEvent",
)


def _comes_from_outside(event: EventDefinition) -> bool:
    return any(event.is_a(kind) for kind in _FROM_OUTSIDE)


def _begins_a_path(event: EventDefinition) -> bool:
    return any(event.is_a(kind) for kind in ("HumanResponseEvent", "InputExpiredEvent", "StepFailedEvent"))


def _goes_outside(event: EventDefinition) -> bool:
    return any(event.is_a(kind) for kind in ("StopEvent", "InputRequiredEvent"))


def _of_kind(flow: FlowDefinition, names: Iterable[str], kind: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if flow.events[name].is_a(kind)]
