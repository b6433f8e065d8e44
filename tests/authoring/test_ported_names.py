"""What programs written for LlamaIndex Workflows name, by `workflows` replaced with `everstep`: it is all there.

`PORTED` is the public face of LlamaIndex Workflows 2.26.1: modules, classes with their bases among the public ones,
members, parameters with their defaults, fields of events. `...` stands for a default that is an object. Names after
`<` are bases. What differs here stands in docs/semantics.md, in the table of names that differ, with the reason.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

SEMANTICS = Path(__file__).parents[2] / "docs" / "semantics.md"

PORTED = {
    "everstep": """
Context
Workflow
catch_error
step
    """,
    "everstep.collect": """
All() < Cardinality
Cardinality()
Collect(cardinality=...)
Take(n) < Cardinality
    """,
    "everstep.context": """
BaseSerializer
Context(workflow, previous_context=None, serializer=None)
  .get_step_context()
  .is_running
  .store
  .to_dict(serializer=None, *, include_state=True)
  .from_dict(workflow, data, serializer=None)
  .running_steps()
  .collect_events(ev, expected, buffer_id=None)
  .send_event(message, step=None)
  .wait_for_event(event_type, waiter_event=None, waiter_id=None, requirements=None, timeout=2000)
  .retry_info()
  .write_event_to_stream(ev)
  .get_result()
  .stream_events()
  .streaming_queue
JsonSerializer
PickleSerializer
    """,
    "everstep.context.serializers": """
BaseSerializer
  .validation_context()
  .serialize(value)
  .deserialize(value)
JsonPickleSerializer
JsonSerializer(*, allowed_types=None) < BaseSerializer
  .with_types(*classes)
  .validation_context()
  .resolve_class(qualified_name)
  .serialize_value(value)
  .serialize(value)
  .deserialize_value(data)
  .deserialize(value)
PickleSerializer(*, allowed_types=None) < JsonSerializer BaseSerializer
  .serialize(value)
  .deserialize(value)
    """,
    "everstep.context.state_store": """
DictState()
  .get(key, default=None)
  .keys()
  .values()
  .items()
  .to_dict()
InMemorySerializedState
InMemoryStateStore(initial_state) < StateStoreFacade
  .to_dict(serializer)
  .checkpoint()
  .from_dict(serialized_state, serializer)
StateCheckpoint
StateRecord
StateStorage
StateStore
  .get_state()
  .set_state(state)
  .get(path, default=...)
  .set(path, value)
  .clear()
  .edit_state()
  .to_dict(serializer)
StateStoreFacade
UnserializableKeyWarning < Exception
apply_state_patch
assign_path_step
copy_state_for_edit
create_cleared_state
create_in_memory_payload
decode_seed_state
decode_state
decode_state_tree
deserialize_dict_state_data
deserialize_state_from_dict
encode_state
encode_state_tree
get_by_path
infer_state_type
is_declared_model_path_segment
is_durable_serialized_state
merge_state
parse_in_memory_state
restored_run_id
serialize_dict_state_data
set_by_path
set_by_path_copy
string_record_from_state
traverse_path_step
    """,
    "everstep.decorators": """
CatchErrorHandler
StepConfig
StepFunction
catch_error(func=None, *, for_steps=None, max_recoveries=1)
make_step_function
step(func=None, *, workflow=None, num_workers=4, retry_policy=None, skip_graph_checks=None, \
accept_event_subclasses=False)
    """,
    "everstep.errors": """
ContextSerdeError < Exception
ContextStateError < Exception
WorkflowCancelledByUser < Exception
WorkflowConfigurationError < Exception
WorkflowDone < Exception
WorkflowRuntimeError < Exception
WorkflowStepDoesNotExistError < Exception
WorkflowTimeoutError < Exception
WorkflowValidationError < Exception
    """,
    "everstep.events": """
CollectionReleaseEvent
DictLikeModel
Event()
  .get(key, default=None)
  .keys()
  .values()
  .items()
  .to_dict()
HumanResponseEvent() < Event
IdleReleasedEvent
InputRequiredEvent() < Event
InternalDispatchEvent() < Event
SerializableEvent
StartEvent() < Event
StepFailedEvent < Event
  .step_name
  .input_event
  .exception
  .attempts
  .elapsed_seconds
  .failed_at
StepState
  .PREPARING
  .RUNNING
  .NOT_RUNNING
StepStateChanged < InternalDispatchEvent Event
  .name
  .step_state
  .worker_id
  .input_event_name
  .output_event_name = None
StopEvent(result=None) < Event
  .result
  .custom_model_dump(handler)
UnhandledEvent < InternalDispatchEvent Event
  .event_type
  .qualified_name
  .step_name = None
  .idle
UnreconstructedException(message, *, original_type=None) < Exception
WorkflowCancelledEvent(result=None) < StopEvent Event
WorkflowFailedEvent < StopEvent Event
  .step_name
  .exception
  .attempts = None
  .elapsed_seconds = None
WorkflowIdleEvent() < InternalDispatchEvent Event
WorkflowTimedOutEvent < StopEvent Event
  .timeout
  .active_steps
    """,
    "everstep.handler": """
WorkflowHandler(workflow, external_adapter, ctx=None)
  .ctx
  .get_stop_event()
  .stop_event_result()
  .is_done()
  .stream_events(expose_internal=False)
  .done()
  .cancel()
  .exception()
  .cancelled()
  .cancel_run(*, timeout=5.0)
  .send_event(event, step=None)
    """,
    "everstep.resource": """
Resource(factory, cache=True)
ResourceConfig(config_file, path_selector=None, label=None, description=None)
ResourceDefinition
ResourceDescriptor
ResourceManager
    """,
    "everstep.retry_policy": """
ConstantDelayRetryPolicy(maximum_attempts=3, delay=5)
ExponentialBackoffRetryPolicy(maximum_attempts=5, initial_delay=1.0, multiplier=2.0, max_delay=60.0, jitter=True)
RetryCondition
RetryInfo(retry_number, elapsed_seconds, last_exception, last_failed_at)
RetryPolicy
  .next(elapsed_time, attempts, error, *, seed=None)
StopCondition
WaitStrategy
retry_all(*retries)
retry_always()
retry_any(*retries)
retry_if_exception(predicate)
  .__or__(other)
  .__and__(other)
retry_if_exception_cause_type(exception_types=...)
retry_if_exception_message(message=None, match=None)
retry_if_exception_type(exception_types=...) < retry_if_exception
retry_if_not_exception_message(message=None, match=None) < retry_if_exception_message
retry_if_not_exception_type(exception_types=...) < retry_if_exception
retry_never()
retry_policy(retry=None, wait=..., stop=...)
retry_unless_exception_type(exception_types=...) < retry_if_not_exception_type retry_if_exception
stop_after_attempt(max_attempt_number)
  .__or__(other)
  .__and__(other)
stop_after_delay(max_delay)
stop_all(*stops)
stop_any(*stops)
stop_before_delay(max_delay)
stop_never()
wait_chain(*strategies)
wait_combine(*strategies)
wait_exponential(multiplier=1.0, exp_base=2.0, max=60.0, min=0.0)
wait_exponential_jitter(initial=1.0, exp_base=2.0, max=60.0, jitter=1.0)
wait_fixed(wait)
  .__add__(other)
wait_full_jitter(multiplier=1.0, exp_base=2.0, max=60.0, min=0.0)
wait_incrementing(start=0.0, increment=100.0, max=...)
wait_none() < wait_fixed
wait_random(min=0.0, max=1.0)
wait_random_exponential(multiplier=1.0, exp_base=2.0, max=60.0, min=0.0)
    """,
    "everstep.representation": """
WorkflowNodeBase()
  .id
  .label
  .truncated_label(max_length)
WorkflowStepNode() < WorkflowNodeBase
  .node_type
  .description
WorkflowEventNode() < WorkflowNodeBase
  .node_type
  .event_type
  .event_types
  .event_schema
  .produced_by
  .is_subclass_of(*type_names)
WorkflowExternalNode() < WorkflowNodeBase
  .node_type
WorkflowResourceNode() < WorkflowNodeBase
  .node_type
  .type_name
  .getter_name
  .source_file
  .source_line
  .description
WorkflowResourceConfigNode() < WorkflowNodeBase
  .node_type
  .type_name
  .config_file
  .path_selector
  .config_schema
  .config_value
  .description
WorkflowGenericNode() < WorkflowNodeBase
  .node_type
  .event_type
  .event_types
  .is_subclass_of(*type_names)
WorkflowGraphNode
WorkflowGraphEdge()
  .source
  .target
  .label
WorkflowGraph()
  .name
  .nodes
  .edges
  .description
  .filter_by_node_type(*node_types)
get_workflow_representation(workflow)
    """,
    "everstep.testing": """
WorkflowTestRunner(workflow)
  .run(start_event=..., ctx=None, expose_internal=True, exclude_events=None)
    """,
    "everstep.workflow": """
Workflow(timeout=45.0, disable_validation=False, verbose=False, resource_manager=None, \
num_concurrent_runs=None, runtime=None, workflow_name=None, skip_graph_checks=None, serializer=None)
  .serializer
  .runtime
  .workflow_name
  .start_event_class
  .events
  .stop_event_class
  .add_step(func)
  .run(ctx=None, start_event=None, **kwargs)
  .validate(*, validate_resource_configs=True, validate_resources=False)
WorkflowMeta
    """,
}


@dataclass
class Entry:
    """One line of the table: a name, its parameters with their defaults as text, and where it stands."""

    module: str
    name: str
    parameters: dict[str, str | None] | None
    positional: list[str]
    default: str | None = None
    bases: list[str] = field(default_factory=list[str])

    @property
    def path(self) -> str:
        """The whole dotted name."""
        return f"{self.module}.{self.name}"


def entries() -> list[Entry]:
    """The lines of the table."""
    found: list[Entry] = []
    for module, text in PORTED.items():
        owner = ""
        for raw in text.strip().splitlines():
            line, _, bases = raw.strip().partition(" < ")
            line, _, default = line.partition(" = ")
            name, bracket, rest = line.partition("(")
            if name.startswith("."):
                name = owner + name
            else:
                owner = name
            parameters, positional = _parameters(bracket + rest) if bracket else (None, [])
            found.append(Entry(module, name, parameters, positional, default or None, bases.split()))
    return found


def _parameters(text: str) -> tuple[dict[str, str | None], list[str]]:
    """Parameters with their defaults, and the names of those that can be given by position."""
    node = ast.parse(f"def f{text}: ...").body[0]
    assert isinstance(node, ast.FunctionDef)
    args = node.args
    positional = [arg.arg for arg in args.args]
    defaults = [None] * (len(args.args) - len(args.defaults)) + [ast.unparse(value) for value in args.defaults]
    out: dict[str, str | None] = dict(zip(positional, defaults, strict=True))
    for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        out[arg.arg] = None if value is None else ast.unparse(value)
    return out, positional


def _found(entry: Entry) -> Any:
    """What stands under the same name here; AttributeError if nothing does."""
    value: Any = importlib.import_module(entry.module)
    for part in entry.name.split("."):
        if inspect.isclass(value) and issubclass(value, BaseModel) and part in value.model_fields:
            return value.model_fields[part]
        if inspect.isclass(value) and part in inspect.get_annotations(value):
            return None
        value = inspect.getattr_static(value, part) if inspect.isclass(value) else getattr(value, part)
    return value.__func__ if isinstance(value, staticmethod | classmethod) else value


def differences(entry: Entry) -> list[str]:
    """What is not the same here, as `path` or `path(parameter)`."""
    try:
        found = _found(entry)
    except AttributeError:
        return [entry.path]
    out = [f"{entry.path} < {base}" for base in entry.bases if base not in {c.__name__ for c in found.__mro__}]
    if entry.default is not None and not (isinstance(found, FieldInfo) and _same_default(entry.default, found.default)):
        out.append(f"{entry.path} = {entry.default}")
    if entry.parameters is None:
        return out
    parameters = [p for p in inspect.signature(cast("Any", found)).parameters.values() if p.name not in ("self", "cls")]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
    ours = {p.name: p for p in parameters}
    for name, default in entry.parameters.items():
        if name not in ours:
            if not open_ended:
                out.append(f"{entry.path}({name})")
        elif not _same_default(default, ours[name].default):
            out.append(f"{entry.path}({name})")
    places = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    wanted = [name for name in entry.positional if name in ours]
    if places[: len(wanted)] != wanted and not out:
        out.append(f"{entry.path}({', '.join(wanted)})")
    return out


def _same_default(wanted: str | None, ours: Any) -> bool:
    if wanted is None or ours is inspect.Parameter.empty:
        return wanted is None  # what has to be given there may have a default here
    return wanted == "..." or repr(ours) == wanted


def known_differences() -> dict[str, str]:
    """The names in the first column of the table in docs/semantics.md, each with its reason."""
    text = SEMANTICS.read_text().partition("## Names that differ, and why")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {f"everstep.{name}": row[-1] for row in rows for name in re.findall("`([^`]+)`", row[0])}


KNOWN = known_differences()


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.path)
def test_a_name_is_there_or_its_difference_is_known(entry: Entry) -> None:
    """Name, bases, parameters, defaults and fields are the same, unless docs/semantics.md says why not."""
    assert [each for each in differences(entry) if not any(_covers(known, each) for known in KNOWN)] == []


def test_every_known_difference_is_one_and_has_its_reason() -> None:
    """A difference that was mended is taken off the list."""
    found = [each for entry in entries() for each in differences(entry)]
    assert [known for known in KNOWN if not any(_covers(known, each) for each in found)] == []
    assert [known for known, reason in KNOWN.items() if len(reason) < 20] == []


def _covers(known: str, difference: str) -> bool:
    return difference == known or difference.startswith((f"{known}.", f"{known}(", f"{known} <", f"{known} ="))
