"""Checks of what Temporal must give: its server, the namespace, the search attribute, workers, its clock."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, timedelta

from temporalio.api.enums.v1 import NamespaceState, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    GetSystemInfoRequest,
    PollActivityTaskQueueRequest,
)
from temporalio.service import RPCError, RPCStatusCode

from everstep.cli.exits import Exit
from everstep.cli.findings import Finding, Place, failed, ok, skipped, warning
from everstep.temporal import names
from everstep.temporal.pollers import Poller, pollers
from everstep.temporal.privacy.keys import KEYS_SETTING
from everstep.temporal.privacy.settings import hides_contents
from everstep.temporal.worker import has_waiting_attribute

SKEW_SECONDS = 5.0
"""How far the clocks may be apart: due times and the ages that commands show are off by that."""

POLL_SECONDS = 15
"""The server takes no polls that are much shorter; this one is given up as soon as it has been seen."""


async def check_server(place: Place) -> Sequence[Finding]:
    """The server that answers; that it does is known by now."""
    began = time.perf_counter()
    info = await place.client.workflow_service.get_system_info(GetSystemInfoRequest())
    took = (time.perf_counter() - began) * 1000
    where = {"settings": "the settings", "embedded": "this directory's dev server", "default": "the default"}
    how = f"{where[place.connection.source]}, {place.connection.protection}"
    text = f"Temporal {info.server_version} at {place.connection.address} ({how})"
    return [ok("server", f"{text}, {took:.0f} ms", address=place.connection.address, version=info.server_version)]


async def check_namespace(place: Place) -> Sequence[Finding]:
    """Whether the namespace is there."""
    name, namespace = "namespace", place.client.namespace
    try:
        found = await place.client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            remedy = f"Check TEMPORAL_NAMESPACE, or create it: temporal operator namespace create -n {namespace}"
            return [failed(name, f"there is no namespace {namespace!r}", remedy, Exit.NOT_FOUND)]
        if error.status == RPCStatusCode.PERMISSION_DENIED:
            return [skipped(name, f"{namespace!r} may not be described with these credentials")]
        raise
    if found.namespace_info.state != NamespaceState.NAMESPACE_STATE_REGISTERED:
        return [failed(name, f"{namespace!r} is deleted or deprecated", "Choose another by TEMPORAL_NAMESPACE.")]
    days = found.config.workflow_execution_retention_ttl.ToTimedelta() / timedelta(days=1)
    return [ok(name, f"{namespace!r}, keeps ended runs for {days:g} d")]


async def check_search_attribute(place: Place) -> Sequence[Finding]:
    """Whether the server can find runs that wait for people."""
    if await has_waiting_attribute(place.client):
        return [ok("search attribute", names.WAITING)]
    remedy = (
        f"temporal operator search-attribute create --name {names.WAITING} --type Bool -n {place.client.namespace}; "
        "then start the workers anew."
    )
    text = f"{names.WAITING} is not registered: the inbox asks every running run"
    return [warning("search attribute", text, remedy)]


async def check_task_queue(place: Place) -> Sequence[Finding]:
    """Who polls the task queue, and what they serve."""
    name, queue, wanted = "task queue", place.task_queue, "steps" if place.steps_only else "runs"
    found = await pollers(place.client, queue)
    told = [one.to_json() for one in found]
    if not any(wanted in one.asks_for for one in found):
        text = f"no worker takes {wanted} of {queue!r}"
        remedy = "Start one, such as `everstep worker`, or name its queue by TEMPORAL_TASK_QUEUE or --task-queue."
        return [warning(name, text, remedy, task_queue=queue, workers=told)]
    flows = {tuple(sorted(one.flows)) for one in found if one.flows is not None and wanted in one.asks_for}
    versions = sorted({" ".join(one.version) for one in found if one.version is not None})
    text = f"{len(found)} {'worker polls' if len(found) == 1 else 'workers poll'} {queue!r}"
    if flows:
        text += f", with {', '.join(sorted({flow for some in flows for flow in some}))}"
    if versions:
        text += f"; versions {', '.join(versions)}"
    unrouted = await _without_current(place, found)
    if unrouted:
        remedy = (
            f"temporal worker deployment set-current-version --deployment-name {unrouted[0]} --build-id {unrouted[1]}"
        )
        return [warning(name, f"{text}; no build of {unrouted[0]} is current: runs wait", remedy, workers=told)]
    if len(flows) > 1 and len(versions) < 2:
        remedy = "Give all workers of a queue the same flows, or flows a --task-queue of their own."
        return [warning(name, f"{text}, but not all serve the same", remedy, task_queue=queue, workers=told)]
    if any(one.encrypted for one in found) and not hides_contents(place.client):
        remedy = f"Set {KEYS_SETTING} to their key ring: commands that would send in plain text are refused."
        return [warning(name, f"{text}; they encrypt, and this environment does not", remedy, workers=told)]
    return [ok(name, text, task_queue=queue, workers=told)]


async def _without_current(place: Place, found: Sequence[Poller]) -> tuple[str, str] | None:
    """A deployment of these workers, and a build, that has no current one, so that nothing is sent to them."""
    for deployment, build in sorted({one.version for one in found if one.version is not None}):
        request = DescribeWorkerDeploymentRequest(namespace=place.client.namespace, deployment_name=deployment)
        with contextlib.suppress(RPCError):
            answer = await place.client.workflow_service.describe_worker_deployment(request)
            routing = answer.worker_deployment_info.routing_config
            if not routing.current_deployment_version.build_id and not routing.ramping_deployment_version.build_id:
                return deployment, build
    return None


async def check_clock(place: Place) -> Sequence[Finding]:
    """How far this machine's clock is from the server's.

    The server tells no time; but it notes when a task queue was polled last. So one is, that nobody else uses.
    """
    name, service = "clock", place.client.workflow_service
    queue = TaskQueue(name=f"everstep-doctor-{uuid.uuid4().hex[:12]}")
    request = PollActivityTaskQueueRequest(namespace=place.client.namespace, task_queue=queue, identity="doctor")
    asked = time.time()
    poll = asyncio.ensure_future(service.poll_activity_task_queue(request, timeout=timedelta(seconds=POLL_SECONDS)))
    try:
        look = DescribeTaskQueueRequest(
            namespace=place.client.namespace, task_queue=queue, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
        )
        while not poll.done():
            answer = await service.describe_task_queue(look)
            if answer.pollers:
                at = answer.pollers[0].last_access_time.ToDatetime(UTC).timestamp()
                return [_skew(name, at, asked, time.time())]
            await asyncio.sleep(0.05)
    except RPCError:
        pass
    finally:
        poll.cancel()
        with contextlib.suppress(RPCError, asyncio.CancelledError):
            await poll
    return [skipped(name, "the server does not tell its time")]


def _skew(name: str, at: float, before: float, after: float) -> Finding:
    """`at` is a moment between two others, by another clock."""
    ahead = max(0.0, at - after) - max(0.0, before - at)
    if abs(ahead) < SKEW_SECONDS:
        return ok(name, f"within {max(abs(ahead), after - before):.1f} s of the server's", seconds=round(ahead, 3))
    way = "behind" if ahead > 0 else "ahead of"
    text = f"this machine's clock is {abs(ahead):.0f} s {way} the server's"
    return warning(name, text, "Synchronise the clocks, by NTP.", seconds=round(ahead, 3))
