"""The public names: where users import from, what is there, and that each name says what it is for."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Module paths and names follow LlamaIndex Workflows, so that porting a flow is replacing `workflows` by `everstep`.
PUBLIC = {
    "everstep": "Context LocalRuntime Workflow catch_error step use_runtime",
    "everstep.agent": (
        "Agent AgentDefinitionError AgentError AgentHandoff AgentInput AgentOutput AgentResult AgentSetup AgentStream "
        "AgentWorkflow AgentWorkflowStartEvent ApproveToolCall ChatAnswer ChatMessage ChatModel EmptyAnswerError "
        "FunctionTool MaxIterationsError OutputInvalidError ToolApproval ToolCall ToolCallHeld ToolCallResult "
        "ToolError ToolMetadata ToolOutput ToolSelection ToolTimeoutError Usage tool"
    ),
    "everstep.agent.mcp": "MCPServer ToolServerError",
    "everstep.agent.testing": "ModelRequest ScriptedModel calls",
    "everstep.collect": "All Collect Take",
    "everstep.context": "BaseSerializer Context JsonSerializer PickleSerializer",
    "everstep.context.serializers": "BaseSerializer JsonPickleSerializer JsonSerializer PickleSerializer",
    "everstep.context.state_store": "DictState InMemoryStateStore StateStore",
    "everstep.decorators": "catch_error step",
    "everstep.errors": (
        "ContextSerdeError ContextStateError EventDecodeError EverstepError FlowNotFoundError MissingExtraError "
        "RequestExpiredError ResponseRefusedError RunAlreadyStartedError RunNotFoundError ServerUnreachableError "
        "StateValueError StepFailedError StepTimeoutError UnknownEventError WorkflowCancelledByUser "
        "WorkflowConfigurationError WorkflowRuntimeError WorkflowStepDoesNotExistError WorkflowTimeoutError "
        "WorkflowValidationError"
    ),
    "everstep.events": (
        "Event HumanResponseEvent InputExpiredEvent InputRequiredEvent InternalDispatchEvent StartEvent "
        "StepFailedEvent StepState StepStateChanged StopEvent UnhandledEvent WorkflowCancelledEvent "
        "WorkflowFailedEvent WorkflowIdleEvent WorkflowTimedOutEvent"
    ),
    "everstep.handler": "StreamItem WorkflowHandler",
    "everstep.local": "LocalRuntime",
    "everstep.resource": "Resource ResourceConfig",
    "everstep.retry_policy": (
        "ConstantDelayRetryPolicy ExponentialBackoffRetryPolicy RetryInfo RetryPolicy retry_all retry_always "
        "retry_any retry_if_exception retry_if_exception_cause_type retry_if_exception_message "
        "retry_if_exception_type retry_if_not_exception_message retry_if_not_exception_type retry_never "
        "retry_policy retry_unless_exception_type stop_after_attempt stop_after_delay stop_all stop_any "
        "stop_before_delay stop_never wait_chain wait_combine wait_exponential wait_exponential_jitter wait_fixed "
        "wait_full_jitter wait_incrementing wait_none wait_random wait_random_exponential wait_retry_after"
    ),
    "everstep.observe": (
        "Document EmbeddingCall EvaluatorCall JsonFormatter LlmCall RerankerCall RetrieverCall RunLogFilter ToolCall "
        "use_tracing"
    ),
    "everstep.representation": (
        "GraphRun RunPath StepPath StepRun WorkflowEventNode WorkflowExternalNode WorkflowGenericNode WorkflowGraph "
        "WorkflowGraphEdge WorkflowGraphNode WorkflowNodeBase WorkflowResourceConfigNode WorkflowResourceNode "
        "WorkflowStepNode draw_all_possible_flows draw_all_possible_flows_mermaid draw_most_recent_execution draw_run "
        "get_run_representation get_workflow_representation to_html to_mermaid"
    ),
    "everstep.runtime": "Runtime current_runtime set_default_runtime use_runtime",
    "everstep.temporal": "EverstepPlugin Limits TemporalRuntime serving",
    "everstep.temporal.devserver": "DevServer ensure_dev_server find_dev_server stop_dev_server",
    "everstep.temporal.handler": "TemporalHandler",
    "everstep.temporal.metrics_settings": "metrics_config",
    "everstep.temporal.privacy": (
        "FileDriver KeyRing Keys PrivacySettings PrivateCodec PrivateFailureConverter Sealer find_keys "
        "private_converter"
    ),
    "everstep.temporal.runs": "Inbox OpenRequest RunSummary find_run inbox list_runs",
    "everstep.temporal.settings": "ConnectionFailedError ConnectionSettings SettingsError connect",
    "everstep.testing": (
        "Fakes FlowEnvironment LocalEnvironment SkipWhileWaiting SkippingClock TemporalEnvironment "
        "TimeSkippingEnvironment WorkflowTestResult WorkflowTestRunner assert_replays fake_steps fetch_history "
        "time_skipping_server"
    ),
    "everstep.workflow": "Workflow",
}
NAMES = [(module, name) for module, names in PUBLIC.items() for name in names.split()]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_name_is_there_and_says_what_it_is_for(module: str, name: str) -> None:
    """Each resolves, and has a docstring of its own."""
    found = getattr(importlib.import_module(module), name)
    doc = found.__dict__.get("__doc__") if inspect.isclass(found) else inspect.getdoc(found)
    assert doc, f"{module}.{name} has no docstring"
    assert not doc.startswith(f"{name}("), f"{module}.{name} has only the docstring that dataclasses make"


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_the_public_methods_of_a_class_say_what_they_are_for(module: str, name: str) -> None:
    """Methods and properties that users call have docstrings, their own or those of the base they carry out."""
    found = getattr(importlib.import_module(module), name)
    if not (inspect.isclass(found) and found.__module__.startswith("everstep")):
        return
    silent = [
        member
        for member, value in vars(found).items()
        if not member.startswith("_")
        and (callable(value) or isinstance(value, property | classmethod))
        and not inspect.getdoc(getattr(found, member))
    ]
    assert not silent, f"{module}.{name} has methods without docstrings: {silent}"


@pytest.mark.parametrize(
    "module",
    [
        "everstep",
        "everstep.agent",
        "everstep.local",
        "everstep.observe",
        "everstep.representation",
        "everstep.temporal",
        "everstep.temporal.privacy",
        "everstep.testing",
    ],
)
def test_a_package_lists_its_names(module: str) -> None:
    """What a package exports is what is promised: no more, no less."""
    assert sorted(importlib.import_module(module).__all__) == sorted(PUBLIC[module].split())


def test_importing_everstep_brings_neither_temporal_nor_extras() -> None:
    """A flow that runs in process pays for no client, and needs no extra."""
    heavy = "('temporalio', 'openai', 'qdrant_client', 'rich', 'typer', 'numpy', 'opentelemetry')"
    code = f"import sys, everstep; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
