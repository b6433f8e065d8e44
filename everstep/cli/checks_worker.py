"""Checks of a worker with this environment: its settings, and what it would serve; the flows are imported, as by it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

import typer

from everstep.cli.exits import Exit
from everstep.cli.findings import Finding, failed, ok, skipped
from everstep.cli.flows import Found
from everstep.cli.health import parse_address
from everstep.cli.logs import parse_level
from everstep.cli.program import worker_command
from everstep.cli.serve import choose, project_root
from everstep.cli.worker_settings import parse_concurrency
from everstep.errors import EverstepError
from everstep.temporal.deployment import deployment_from


async def check_worker(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether a worker takes the settings of its own."""
    name = "worker settings"
    try:
        given = worker_command().make_context("worker", []).params  # reads the environment of this process
        parse_level(given["log_level"], given["log_format"])
        parse_concurrency(given["step_concurrency"])
        if given["health_address"] is not None:
            parse_address(given["health_address"])
        deployment = deployment_from(environment)
    except (EverstepError, typer.BadParameter) as error:
        text = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
        return [
            failed(name, text.rstrip("."), "Mend it: a worker with this environment ends with exit code 2.", Exit.USAGE)
        ]
    version = "of no deployment"
    if deployment is not None:
        version = f"build {deployment.version.build_id} of {deployment.version.deployment_name}"
    return [ok(name, f"a worker takes them; it is {version}")]


async def check_flows(environment: Mapping[str, str]) -> Sequence[Finding]:
    """Whether the flows of EVERSTEP_FLOWS can be imported and work."""
    places = [place for place in re.split(r"[,\s]+", environment.get("EVERSTEP_FLOWS", "")) if place]
    if not places:
        return [skipped("flows", "EVERSTEP_FLOWS names none; a worker serves those of workflows/")]
    try:
        found: Sequence[Found] = await asyncio.to_thread(choose, (), places, project_root())
    except EverstepError as error:
        return [failed("flows", str(error), "Mend it, or set EVERSTEP_FLOWS to other places.", Exit.USAGE)]
    return [ok("flows", ", ".join(f"{one.name} ({one.origin})" for one in found))]
