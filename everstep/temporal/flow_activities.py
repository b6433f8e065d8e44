"""All activities of the flows that a worker serves: their steps, the beginning of runs, the judging of messages.

One more is dynamic: it answers for steps that this worker does not have, so that a missing step waits, visibly, and
neither breaks replay nor uses up attempts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from everstep.engine.messages import Envelope
from everstep.errors import EverstepError
from everstep.exception_data import exception_text
from everstep.invoke import Invoker
from everstep.judge import judge, normal_form
from everstep.state_store import begin_state
from everstep.temporal import names
from everstep.temporal.boundary import Limits
from everstep.temporal.child_watch import watch_activity
from everstep.temporal.host import StepHost
from everstep.temporal.lock_client import LockClient
from everstep.temporal.payloads import dump, raw
from everstep.temporal.privacy.settings import hides_contents
from everstep.temporal.publish_line import PublishLines
from everstep.temporal.step_activity import ABSENT_RETRY, StepActivity
from everstep.temporal.step_gate import StepGate
from everstep.temporal.tally import Tally
from everstep.temporal.telemetry import Telemetry
from everstep.workflow import Workflow

_log = logging.getLogger("everstep.worker")

_REASON = 8_000
"""How many characters of a refusal are told."""

_TOO_LARGE = (
    "{} cannot start: its start event, state and definition make {:,} bytes, and the server takes {:,}. Begin with "
    "less, or set up external storage on the client"
)


class FlowActivities:
    """The activities of some flows, for one worker.

    Args:
        flows: instances; their methods are run.
        host: where user code runs.
        client: the worker's client, for queries and signals of running steps.
        limits: what a run that begins on this worker is given.
        telemetry: tells of what the steps do.
        gate: bounds how many attempts of which step run at one time.
    """

    def __init__(
        self,
        flows: Sequence[Workflow],
        host: StepHost,
        client: Client,
        limits: Limits,
        telemetry: Telemetry,
        gate: StepGate | None = None,
    ) -> None:
        self._invokers = {flow.workflow_name: Invoker(flow, host, host.resources) for flow in flows}
        self._host = host
        self._client = client
        self.limits = limits
        self._telemetry = telemetry
        self._gate = gate

    def all(self) -> list[Callable[..., Any]]:
        """The functions to register with a worker."""
        locks = LockClient(self._client, self.limits.payload)
        lines = PublishLines(self._client, self.limits)
        hides = hides_contents(self._client)
        steps = [
            StepActivity(
                invoker,
                step,
                self._host,
                self._client,
                self.limits.payload,
                locks,
                lines,
                self._invokers.keys(),
                self._telemetry.step(invoker.flow.workflow_name, step),
                self._gate,
                hides_contents=hides,
            ).as_activity()
            for invoker in self._invokers.values()
            for step in invoker.specs
        ]
        return [*steps, self._begin(), self._judge(), watch_activity(self._client), self._absent()]

    def _begin(self) -> Callable[..., Any]:
        @activity.defn(name=names.BEGIN)
        async def begin(request: dict[str, Any]) -> RawValue:
            """Pin the definition of a flow for a run, and judge its start event."""
            return await self._host.aside(partial(self._begun, self._invoker(request["flow"]), request))

        return begin

    def _begun(self, invoker: Invoker, request: Mapping[str, Any]) -> RawValue:
        options: Mapping[str, Any] = request.get("options") or {}
        definition = invoker.flow.definition
        if "timeout" in options:
            definition = replace(definition, timeout=options["timeout"])
        try:
            start = normal_form(invoker, definition.start, request["start"])
            state = begin_state(invoker.types.state, options.get("state"))
        except EverstepError as error:
            return raw({"refused": f"{definition.name} cannot start: {exception_text(error)}"})
        begun = raw(
            {
                "definition": definition.to_json(),
                "limits": self.limits.to_json(),
                "start": start.to_json(),
                "state": state,
            }
        )
        size, limit = len(begun.payload.data), self.limits.payload
        if limit is not None and size > limit:
            return raw({"refused": _TOO_LARGE.format(definition.name, size, limit)})
        return begun

    def _judge(self) -> Callable[..., Any]:
        @activity.defn(name=names.JUDGE)
        async def judge_messages(request: dict[str, Any]) -> RawValue:
            """Judge messages to a run by the flow's present types."""
            return await self._host.aside(
                partial(_judged, self._invoker(request["flow"]), request["messages"], self.limits.payload)
            )

        return judge_messages

    def _absent(self) -> Callable[..., Any]:
        @activity.defn(dynamic=True)
        async def absent(_: Sequence[RawValue]) -> None:
            """Answer for a step that this worker does not have."""
            info = activity.info()
            if not info.is_local:
                Tally.read(info.heartbeat_details).account()
            raise _not_here(f"this worker has no step {info.activity_type!r}; {self._has(info.workflow_type or '')}")

        return absent

    def _invoker(self, flow: str) -> Invoker:
        invoker = self._invokers.get(flow)
        if invoker is None:
            raise _not_here(f"this worker has no flow {flow!r}; {self._has(flow)}")
        return invoker

    def _has(self, flow: str) -> str:
        invoker = self._invokers.get(flow)
        if invoker is None:
            return f"it serves {', '.join(self._invokers)}"
        return f"of {flow} it has {', '.join(invoker.specs)}"


def _judged(invoker: Invoker, messages: Sequence[Mapping[str, Any]], limit: int | None) -> RawValue:
    """The verdicts on messages, as far as one payload takes them; the run asks again for those that are missing."""
    verdicts: list[dict[str, Any]] = []
    room = limit
    for message in messages:
        asked = message.get("question")
        verdict = judge(
            invoker,
            message["message"],
            message["types"],
            message["data"],
            waited=message.get("waited", False),
            question=None if asked is None else Envelope.from_json(asked),
            # An interpreter of old does not say it, and may mean an answer that it has made itself.
            outside=message.get("outside", False),
        )
        outcome = {"reason": verdict.reason[:_REASON]} if verdict.event is None else {"event": verdict.event.to_json()}
        size = len(dump(outcome))
        if limit is not None and size > limit:
            outcome = {"reason": f"as an event it has {size} bytes, over the server's limit of {limit}"}
            size = 0
        if room is not None:
            if verdicts and size > room:
                break
            room -= size
        verdicts.append({"message": verdict.message, **outcome})
    return raw({"verdicts": verdicts})


def _not_here(message: str) -> ApplicationError:
    _log.warning("%s; the run waits for a worker that has it", message)
    return ApplicationError(
        f"{message}. It waits for a worker that has it: keep one of the version that the run began with, or bring the "
        f"step back. It is tried again in {ABSENT_RETRY.total_seconds():g} s.",
        type="NotOnThisWorker",
        next_retry_delay=ABSENT_RETRY,
        category=ApplicationErrorCategory.BENIGN,  # logged above, in one line
    )
