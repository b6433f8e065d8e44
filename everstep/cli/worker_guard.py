"""Looks whether a worker that serves is still let in.

The SDK hears of it late: when its polls of a minute end, and then it tries again for another. A server that is away
is no matter: that passes. But behind mutual TLS a client certificate that has expired looks the same, and the SDK never
reads it again; so where nobody answers, the certificate is looked at.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import NoReturn

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from everstep.cli.exits import CommandError, Exit
from everstep.cli.worker_connection import no_namespace
from everstep.temporal.settings import ConnectionSettings, SettingsError

_log = logging.getLogger("everstep.worker")

LOOK_EVERY = 10.0
"""Seconds between two looks."""

TIMES = 3
"""How often in a row the server has to refuse, or not to answer: keys are exchanged, and frontends started anew, with
less."""

ANSWER_SECONDS = 5.0

_SILENCE = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.UNKNOWN,  # with which the SDK tells of a TLS handshake that failed
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
)


async def guard(client: Client, connection: ConnectionSettings, every: float = LOOK_EVERY) -> NoReturn:
    """Look until the server does not let this worker in any more.

    Raises:
        CommandError: its credentials do not hold any more, or were renewed, or the namespace is gone.
    """
    permitted, refused, unanswered = False, 0, 0
    while True:
        status = await _look(client)
        permitted = permitted or status is RPCStatusCode.OK
        unanswered = unanswered + 1 if status in _SILENCE else 0
        if unanswered >= TIMES and await _renewed(connection):
            raise CommandError(
                f"The server at {connection.address} does not answer, and the files of TEMPORAL_TLS_… are others than "
                "this worker began with: it ends, to be started anew with them.",
                Exit.FAILED,
            )
        lasting = status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAUTHENTICATED) or (
            status is RPCStatusCode.PERMISSION_DENIED and permitted  # else it was never meant to describe namespaces
        )
        refused = refused + 1 if lasting else 0
        if refused:
            _log.warning("the server refuses this worker: %s", status.name.lower())
        if refused >= TIMES:
            if status is RPCStatusCode.NOT_FOUND:
                raise no_namespace(client, connection)
            raise CommandError(
                f"The server at {connection.address} does not let this worker in any more ({status.name.lower()}). "
                "Check TEMPORAL_API_KEY, or the certificate of TEMPORAL_TLS_CLIENT_CERT_PATH, and start it anew.",
                Exit.FAILED,
            )
        await asyncio.sleep(every)


async def _renewed(connection: ConnectionSettings) -> bool:
    """Whether the certificates that the settings name are others now."""
    if not isinstance(connection.tls, TLSConfig):
        return False
    try:
        found = (await asyncio.to_thread(ConnectionSettings.load)).tls
    except SettingsError:  # somebody is writing them
        return False
    return isinstance(found, TLSConfig) and found != connection.tls


async def _look(client: Client) -> RPCStatusCode:
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=timedelta(seconds=ANSWER_SECONDS)
        )
    except RPCError as error:
        return error.status
    return RPCStatusCode.OK
