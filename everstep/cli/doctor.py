"""`doctor`: looks at everything that a worker needs, and says what to do where something is wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Mapping, Sequence
from typing import Annotated

import typer
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError

from everstep.cli.checks_payloads import check_payloads
from everstep.cli.checks_server import (
    check_clock,
    check_namespace,
    check_search_attribute,
    check_server,
    check_task_queue,
)
from everstep.cli.checks_services import check_embeddings, check_folders, check_model, check_vectors
from everstep.cli.checks_worker import check_flows, check_worker
from everstep.cli.exits import Exit, leave
from everstep.cli.findings import Check, Finding, LocalCheck, Place, Status, failed, skipped
from everstep.cli.output import Output, OutputOption
from everstep.cli.settings_shown import shown_settings
from everstep.temporal.settings import ConnectionFailedError, ConnectionSettings, SettingsError, connect

SERVER_CHECKS: tuple[Check, ...] = (
    check_server,
    check_namespace,
    check_search_attribute,
    check_task_queue,
    check_clock,
)
LOCAL_CHECKS: tuple[LocalCheck, ...] = (
    check_worker,
    check_flows,
    check_payloads,
    check_model,
    check_embeddings,
    check_vectors,
    check_folders,
)

CHECK_SECONDS = 15.0
"""How long one check may take."""


def doctor(
    task_queue: Annotated[
        str | None,
        typer.Option("--task-queue", envvar="TEMPORAL_TASK_QUEUE", help="Whose workers to look at; default everstep."),
    ] = None,
    steps_only: Annotated[
        bool,
        typer.Option("--steps-only", envvar="EVERSTEP_STEPS_ONLY", help="Its workers take steps, and no runs."),
    ] = False,
    output: OutputOption = None,
) -> None:
    """Look at everything that runs need, and say what to do: settings, server, namespace, workers, models, folders.

    Exit codes: 0 nothing failed, warnings included; else that of the first failure: 2 the settings cannot be used,
    3 no server answers, 4 no such namespace, 1 anything else.

    Examples:

      {command}

      {command} --task-queue refunds -o json
    """
    out = Output(output)
    settings = shown_settings(os.environ)
    findings = asyncio.run(_look(os.environ, task_queue, steps_only))
    bad = [one for one in findings if one.status is Status.FAILED]
    if out.json:
        out.data({"ok": not bad, "settings": settings, "checks": [one.to_json() for one in findings]})
    else:
        _show(out, settings, findings)
    leave(bad[0].code if bad else Exit.OK)


async def _look(environment: Mapping[str, str], task_queue: str | None, steps_only: bool) -> list[Finding]:
    local = asyncio.gather(*(_checked(check.__name__, check(environment)) for check in LOCAL_CHECKS))
    server = await _of_server(environment, task_queue, steps_only)
    return [*server, *(finding for some in await local for finding in some)]


async def _of_server(environment: Mapping[str, str], task_queue: str | None, steps_only: bool) -> list[Finding]:
    try:
        settings = ConnectionSettings.load(environment=environment)
        quiet = Runtime(telemetry=TelemetryConfig(logging=None))
        client = await connect(settings, runtime=quiet)
    except SettingsError as error:
        return [_of_error("settings", error, Exit.USAGE)]
    except ConnectionFailedError as error:
        rest = [skipped(_named(check.__name__), "needs the server") for check in SERVER_CHECKS[1:]]
        return [_of_error("server", error, Exit.UNREACHABLE), *rest]
    place = Place(environment, settings, client, task_queue or settings.task_queue, steps_only)
    found: list[Finding] = []
    for check in SERVER_CHECKS:
        found += await _checked(check.__name__, check(place))
    return found


async def _checked(check: str, findings: Awaitable[Sequence[Finding]]) -> Sequence[Finding]:
    """What a check finds; what stops it is a finding too."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await findings
    except RPCError as error:
        remedy = "Look into the server's log, and check what the credentials permit."
        return [failed(_named(check), f"the server refuses to tell: {error.status.name.lower()}: {error}", remedy)]
    except TimeoutError:
        return [failed(_named(check), f"no answer within {CHECK_SECONDS:g} s", "See whether it is overloaded.")]


def _named(check: str) -> str:
    return check.removeprefix("check_").replace("_", " ")


def _of_error(name: str, error: Exception, code: Exit) -> Finding:
    """An error's text is what is wrong, then what to do."""
    text, _, remedy = str(error).partition(". ")
    return failed(name, text, remedy, code)


def _show(out: Output, settings: Mapping[str, str], findings: Sequence[Finding]) -> None:
    out.table(("SETTING", "VALUE"), list(settings.items()) or [("none is set", "")])
    out.text("")
    rows: list[tuple[str, str, str]] = []
    for one in findings:
        rows.append((one.name, one.status, one.text))
        if one.remedy:
            rows.append(("", "", f"→ {one.remedy}"))
    out.table(("CHECK", "STATUS", "FOUND"), rows)
