"""A command's connection to the server, and what goes wrong with it, in words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from everstep.cli.exits import CommandError, Exit
from everstep.cli.program import worker_called
from everstep.errors import WorkflowRuntimeError
from everstep.temporal.handler import TemporalHandler
from everstep.temporal.settings import ConnectionFailedError, ConnectionSettings, SettingsError, connect

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """A client, and the settings it was made by."""

    client: Client
    settings: ConnectionSettings

    def handle(self, run_id: str) -> TemporalHandler:
        """The handle of a run."""
        return TemporalHandler(self.client, run_id)


def with_session(work: Callable[[Session], Awaitable[T]]) -> T:
    """Connect, do the work, and say in a command's words what goes wrong.

    Raises:
        CommandError: the server cannot be reached, or refuses, or no worker answers; with the exit code.
        EverstepError: whatever the work raises.
        KeyboardInterrupt: Ctrl-C.
    """

    async def connected() -> T:
        settings = ConnectionSettings.load()
        # The SDK would log to stdout, among a command's output; what goes wrong comes as errors anyway.
        quiet = Runtime(telemetry=TelemetryConfig(logging=None))
        return await work(Session(await connect(settings, runtime=quiet), settings))

    with explained():
        return asyncio.run(connected())


@contextmanager
def explained() -> Generator[None]:
    """Turn what the connection raises into errors with an exit code."""
    try:
        yield
    except ConnectionFailedError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from error
    except SettingsError as error:
        raise CommandError(str(error), Exit.USAGE) from error
    except RPCError as error:
        raise _told(error) from error
    except WorkflowRuntimeError as error:
        if type(error) is WorkflowRuntimeError and isinstance(error.__cause__, RPCError):
            raise _told(error.__cause__) from error
        raise


def _told(error: RPCError) -> CommandError:
    if error.status == RPCStatusCode.UNAVAILABLE:
        return CommandError(
            f"The Temporal server does not answer any more: {error}. Try again, or look: `everstep dev --status`.",
            Exit.UNREACHABLE,
        )
    if error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.CANCELLED):
        return CommandError(
            f"No worker answered for the run ({error}). Start a worker that serves its flow, such as "
            f"`{worker_called()}`, and try again.",
            Exit.NOT_YET,
        )
    if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED):
        return CommandError(f"The Temporal server did not permit it: {error}. Check TEMPORAL_API_KEY.", Exit.FAILED)
    if "amespace" in str(error) and error.status == RPCStatusCode.NOT_FOUND:
        return CommandError(f"{str(error).rstrip('.')}. Check TEMPORAL_NAMESPACE.", Exit.NOT_FOUND)
    return CommandError(f"The Temporal server refused it: {error}.", Exit.FAILED)
