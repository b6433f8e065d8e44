"""A broken case for people: what is broken, the flow, each input with the commands it gave, and how to see it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from everstep.engine.commands import (
    CancelStep,
    Command,
    CompleteRun,
    FailRun,
    GrantLock,
    JudgeMessage,
    Publish,
    ReplyToMessage,
    RunStep,
    SetTimer,
    StartChild,
)
from everstep.engine.inputs import Input, MessageReceived, MessagesJudged, StartRun, StepFailed, StepSucceeded
from everstep.engine.messages import Envelope, Outcome
from everstep.flow.definition import FlowDefinition, StepDefinition
from tests.simulation.cases import Life


def report(life: Life, found: str, again: str) -> str:
    """The whole of a broken case.

    Args:
        life: the broken one, as small as it was made.
        found: where it comes from.
        again: the command that lives it again.
    """
    definition = life.world.made.definition
    happened = zip(life.world.log, [*life.world.answers, ()], strict=False)
    return "\n".join(
        [
            f"BROKEN  {life.broken}",
            f"found   {found}; made smaller: {len(definition.steps)} steps, {len(life.world.log)} inputs",
            "",
            *_flow(definition),
            "",
            *(line for number, (what, commands) in enumerate(happened, 1) for line in _input(number, what, commands)),
            "",
            f"again   {again}",
        ]
    )


def _flow(definition: FlowDefinition) -> Iterator[str]:
    limits = {"timeout": definition.timeout, "max_in_flight": definition.max_in_flight}
    yield "flow    " + ", ".join(f"{name} {value:g}" for name, value in limits.items() if value is not None)
    for step in definition.steps.values():
        yield f"  {step.name}: {_signature(step)}{_options(step)}"


def _signature(step: StepDefinition) -> str:
    takes = " | ".join(step.accepts)
    if step.parameters:
        takes = ", ".join(f"{one.name}: {' | '.join(one.accepts)}" for one in step.parameters)
    gives = [*step.returns, *(f"list[{name}]" for name in step.returns_list)]
    return f"{f'list[{takes}]' if step.join else takes} → {' | '.join(gives) or 'None'}"


def _options(step: StepDefinition) -> str:
    shown = {
        "take": step.take,
        "num_workers": step.num_workers,
        "subclasses": step.accept_event_subclasses or None,
        "feeds": ",".join(step.feeds) or None,
        "waits": step.waits or None,
        "for_steps": step.role == "catch_error" and (",".join(step.for_steps or ()) or "all"),
        "max_recoveries": step.max_recoveries if step.role == "catch_error" else None,
    }
    return "".join(f"  {name}={value}" for name, value in shown.items() if value)


def _input(number: int, what: Input, commands: Sequence[Command]) -> Iterator[str]:
    yield f"  {number:>3}  {what.now:7.2f} s  {_said(what)}"
    for command in commands:
        yield f"                    → {_commanded(command)}"


def _said(what: Input) -> str:
    name = type(what).__name__
    match what:
        case StartRun(_, event):
            return f"{name} {_event(event)}"
        case StepSucceeded(_, number, outcome):
            return f"{name} {number}: {_outcome(outcome)}"
        case StepFailed(_, number, failure):
            return f"{name} {number}: {failure.message}"
        case MessageReceived():
            return f"{name} {_fields(what, 'type', 'answer', 'request', 'step', 'key')}"
        case MessagesJudged(_, verdicts):
            said = [f"{one.message}: {_event(one.event) if one.event else 'refused'}" for one in verdicts]
            return f"{name} {', '.join(said)}"
        case _:
            return f"{name} {_fields(what, *(field for field in what.__dataclass_fields__ if field != 'now'))}".rstrip()


def _outcome(outcome: Outcome) -> str:
    returned = outcome.returned
    parts = [f"returns {_events(returned) if isinstance(returned, list) else _event(returned) if returned else None}"]
    parts += [f"sends {_event(one.event)}{f' to {one.step}' if one.step else ''}" for one in outcome.sent]
    parts += [" ".join(map(str, change)) for change in outcome.state]
    parts += [f"collects in {one.buffer} {dict(one.expected)}" for one in outcome.gathers]
    if (wait := outcome.wait) is not None:
        asks = f", asking {_event(wait.question)}" if wait.question else ""
        required = f" with {dict(wait.requirements)}" if wait.requirements else ""
        parts[0] = f"waits for {wait.type}{required}{f' for {wait.timeout:g} s' if wait.timeout else ''}{asks}"
    if outcome.calls:
        parts[0] = f"runs {', '.join(f'{one.flow} {one.run_id}' if one.run_id else one.flow for one in outcome.calls)}"
    parts += [f"takes blocks {list(outcome.edits)} for committed"] * bool(outcome.edits)
    return "; ".join(parts)


def _commanded(command: Command) -> str:
    name = type(command).__name__
    match command:
        case RunStep(number, step, event, batch, record):
            given = _event(event) if event is not None else _events(batch or ())
            again = f"  again, {_record(record)}" if record else ""
            return f"{name} {number} {step}({given}){again}"
        case CancelStep(number) | StartChild(number):
            return f"{name} {number}"
        case SetTimer(timer, at):
            return f"{name} {timer} at {at:.2f} s"
        case JudgeMessage(number, types):
            return f"{name} {number} as {' | '.join(types)}"
        case GrantLock():
            return f"{name} {_fields(command, 'invocation', 'edit', 'token', 'applied')}"
        case Publish(event) | CompleteRun(event):
            return f"{name} {_event(event)}"
        case ReplyToMessage(number, accepted, reason):
            return f"{name} {number}: {'accepted' if accepted else reason}"
        case FailRun(kind, message):
            return f"{name} ({kind}) {message}"
        case _:
            return f"{name} {_fields(command, *command.__dataclass_fields__)}"


def _record(record: Any) -> str:
    answers = [_event(one) if one is not None else "timed out" for one in record.answers]
    answers += [f"{one.run}: {_event(one.event) if one.event else one.reason}" for one in record.children]
    collected = [f"{name}: {_events(batch) if batch else 'not yet'}" for name, batch in record.collected]
    return f"first as {record.origin}" + "".join(f", {text}" for text in [*answers, *collected])


def _event(event: Envelope) -> str:
    uid = event.data.get("uid", event.type)
    return uid if uid.startswith(event.type) else f"{event.type} {uid}"


def _events(events: Iterable[Envelope]) -> str:
    return f"[{', '.join(map(_event, events))}]"


def _fields(value: object, *names: str) -> str:
    shown = ((name, getattr(value, name)) for name in names)
    return ", ".join(f"{name}={field!r}" for name, field in shown if field not in (None, False, ()))
