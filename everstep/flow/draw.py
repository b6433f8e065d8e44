"""Draws a flow definition as a Mermaid flowchart: steps as boxes, events as rounded ones, questions as diamonds."""

from __future__ import annotations

from collections.abc import Iterator

from everstep.flow.definition import EventDefinition, FlowDefinition, StepDefinition
from everstep.flow.streams import accepts, handler_of, slots_of

_CLASSES = (
    "classDef step fill:#e8f0fe,stroke:#3b6fd4,color:#111",
    "classDef handler fill:#fdecea,stroke:#c0392b,color:#111",
    "classDef event fill:#fff,stroke:#888,color:#111",
    "classDef ends fill:#e9f7ef,stroke:#27864b,color:#111",
    "classDef human fill:#fff6dd,stroke:#b7860b,color:#111",
)


def to_mermaid(definition: FlowDefinition) -> str:
    """The flow as Mermaid text, the same for the same definition.

    A solid arrow is an event passed on; a thick one a list that opens a stream, or a join that takes one; a dotted one
    a person's answer, or a failure that goes to its handler.

    Example: `print(to_mermaid(MyFlow().definition))`
    """
    # Not the catch-all bases and answers that only stand in the definition: what no step names is not drawn.
    named = dict.fromkeys(
        name for step in definition.steps.values() for name in (*step.accepts, *step.returns, *step.returns_list)
    )
    events = [definition.events[name] for name in named]
    lines = [
        "flowchart TD",
        *(_event_node(event, definition) for event in events if event.name != "StepFailedEvent"),
        *(_step_node(step) for step in definition.steps.values()),
        *_arrows(definition, events),
        *_CLASSES,
    ]
    return "\n".join([lines[0], *(f"    {line}" for line in lines[1:])]) + "\n"


def _event_node(event: EventDefinition, flow: FlowDefinition) -> str:
    if event.is_a("InputRequiredEvent") or event.is_a("HumanResponseEvent"):
        shape, kind = '{"%s"}', "human"
    elif event.name == flow.start or event.is_a("StopEvent"):
        shape, kind = '(["%s"])', "ends"
    else:
        shape, kind = '("%s")', "event"
    return f"{_event_id(event.name)}{shape % _text(event.name)}:::{kind}"


def _step_node(step: StepDefinition) -> str:
    notes: list[str] = []
    if step.join:
        notes.append("joins all" if step.take is None else f"joins the first {step.take}")
    if step.parameters:
        notes.append("one of each")
    if step.task_queue is not None:
        notes.append(f"on {step.task_queue}")
    if step.local:
        notes.append("local")
    label = _text(step.name) + "".join(f"<br/><i>{_text(note)}</i>" for note in notes)
    kind = "handler" if step.role == "catch_error" else "step"
    return f'{_step_id(step.name)}["{label}"]:::{kind}'


def _arrows(flow: FlowDefinition, events: list[EventDefinition]) -> Iterator[str]:
    for step in flow.steps.values():
        # A handler is drawn below the steps that it covers, and not below the one event that all failures come as.
        for parameter, slot in zip(step.parameters, slots_of(step), strict=True):
            taken = [event for event in events if accepts(slot, event)]
            yield from (
                f"{_event_id(event.name)} -->|{_text(parameter.name)}| {_step_id(step.name)}" for event in taken
            )
        single = step.role == "step" and not step.parameters
        taken = [event for event in events if accepts(step, event)] if single else []
        yield from (f"{_event_id(event.name)} {'==>' if step.join else '-->'} {_step_id(step.name)}" for event in taken)
        yield from (f"{_step_id(step.name)} --> {_event_id(name)}" for name in step.returns)
        yield from (f"{_step_id(step.name)} ==>|list| {_event_id(name)}" for name in step.returns_list)
    named = {event.name for event in events}
    for event in events:
        if event.response is not None and event.response in named:
            yield f"{_event_id(event.name)} -.->|answered by| {_event_id(event.response)}"
    for step in flow.steps.values():
        handler = handler_of(flow.steps, step)
        if handler is not None:
            yield f"{_step_id(step.name)} -.->|fails| {_step_id(handler.name)}"


# Prefixes keep a step and an event of one name apart, and both clear of Mermaid's own words, such as `end`.
def _step_id(name: str) -> str:
    return f"step_{_word(name)}"


def _event_id(name: str) -> str:
    return f"event_{_word(name)}"


def _word(name: str) -> str:
    return "".join(char if (char.isalnum() and char.isascii()) or char == "_" else f"_{ord(char):x}_" for char in name)


def _text(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
